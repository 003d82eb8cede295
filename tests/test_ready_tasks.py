"""The ready-made tasks: their losses and metrics against other libraries and by hand, their runs to
the end.
"""

from pathlib import Path

import drawn_tasks
import numpy as np
import pytest
import torch
from interrupted import stopped_at
from sklearn.metrics import average_precision_score, f1_score
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

import slimmer
from slimmer.data import load
from slimmer.data.user_data import from_value
from slimmer.errors import DataError, TaskError
from slimmer.models import build
from slimmer.models.checkpoint import read_weights, save_weights
from slimmer.pipeline.export_run import export_run
from slimmer.pipeline.stages import resume, start
from slimmer.recipe import read_recipe
from slimmer.recipe.task_section import TaskSection
from slimmer.tasks import Epoch, classification
from slimmer.tasks.classification import ClassificationOptions, hits, loss
from slimmer.tasks.mixing import Draw, mixed
from slimmer.tasks.multilabel import multilabel
from slimmer.tasks.registry import TASKS, find_task
from slimmer.tasks.regression import regression
from slimmer.tasks.segmentation import segmentation
from slimmer.training.evaluate import evaluate

FILE = Path(drawn_tasks.__file__)
SHORT = [("budget.flops", 0.5), ("finetune.epochs", 2), ("finetune.lr", 0.02)]
SHORT += [("method.batches", 2), ("finetune.recalibrate", 2), ("finetune.save_every", 1e-6)]
SHORT += [("finetune.batch_size", 12)]
RUNS = {
    "segmentation": ("UNet", "with_masks", "mIoU"),
    "regression": ("regression_net", "with_numbers", "MSE"),
    "multilabel": ("regression_net", "with_several", "mAP"),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_stopped_run_goes_on_to_the_same_bytes_and_its_file_has_the_same_metric(tmp_path, name):
    net, data, metric = RUNS[name]
    torch.manual_seed(0)
    save_weights(tmp_path / "net.safetensors", getattr(drawn_tasks, net)(), {})
    settings = [("model.checkpoint", str(tmp_path / "net.safetensors"))]
    settings += [("model.arch", f"{FILE}:{net}"), ("data.name", f"{FILE}:{data}")]
    recipe = read_recipe(None, [*SHORT, *settings, ("task.name", name)])
    whole, report = start(recipe, tmp_path / "whole", latest=False)

    stopped = stopped_at(recipe, tmp_path / "stopped", 6)
    resume(stopped)
    ours, theirs = read_weights(stopped.slim), read_weights(whole.slim)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert stopped.plan.read_bytes() == whole.plan.read_bytes()
    assert (report["metric"]["name"], report["trained_by"]) == (metric, name)
    slim = export_run(whole)["networks"]["slim"]
    assert slim["accuracy"] == pytest.approx(report["accuracy"]["slim"], rel=1e-5)
    assert report["flops"]["ratio"] <= 0.5


def test_the_registry_has_the_four_tasks_and_suggests_names():
    assert set(TASKS) >= {"classification", *RUNS}
    with pytest.raises(TaskError, match=r"did you mean 'segmentation'.*FILE\.py:FUNCTION"):
        find_task(TaskSection(name="segmentations"), None)
    with pytest.raises(TaskError, match="segmentation needs data"):
        find_task(TaskSection(name="segmentation"), None)


# Classification


def test_smoothing_and_weights_are_those_of_pytorch():
    torch.manual_seed(0)
    scores, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    weights = (1.0, 2.0, 0.5, 1.0)
    found = loss(scores, (None, labels), smoothing=0.1, weights=weights)
    target = one_hot(labels, 4) * 0.9 + 0.1 / 4
    by_hand = -(target * scores.log_softmax(1) * torch.tensor(weights)).sum(1)
    assert float(found) == pytest.approx(
        float(by_hand.sum() / torch.tensor(weights)[labels].sum()), rel=1e-5
    )


def test_top5_counts_a_label_among_the_five_likeliest():
    scores = torch.arange(8.0).repeat(3, 1)
    found = hits(scores, (None, torch.tensor([7, 3, 2])), top5=True)
    assert found["top-1"].tolist() == [True, False, False]
    assert found["top-5"].tolist() == [True, True, False]
    data = load("digits")
    task = classification(data, ClassificationOptions(top5=True))
    torch.manual_seed(0)
    net = build("cifar_resnet8", in_channels=1)
    measured = evaluate(net, task)
    assert list(measured) == ["top-1", "top-5"]
    with torch.no_grad():
        order = torch.cat([net.eval()(images).argsort(1) for images, _ in task.test])
    labels = data.test.labels.numpy()
    right = [label in row for label, row in zip(labels, order[:, -5:].numpy(), strict=True)]
    assert measured["top-5"] == pytest.approx(np.mean(right), abs=1 / len(labels))


def test_mixup_is_a_mean_of_neighbours_and_its_loss_a_mean_of_losses():
    images, labels = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])
    found, first, second, share = mixed((images, labels), Draw.of(0, 1, 2), mixup=0.5, cutmix=0.0)
    assert torch.allclose(found[1], share * images[1] + (1 - share) * images[0])
    assert (first.tolist(), second.tolist()) == ([0, 1, 2, 3], [3, 0, 1, 2])
    scores = torch.randn(4, 4)
    whole = loss(scores, (found, first, second, share))
    by_hand = share * cross_entropy(scores, first) + (1 - share) * cross_entropy(scores, second)
    assert float(whole) == pytest.approx(float(by_hand))


@pytest.mark.parametrize("place", range(5))
def test_cutmix_pastes_a_rectangle_whose_area_is_the_share(place):
    images = torch.stack([torch.full((1, 16, 16), float(number)) for number in range(3)])
    batch = (images, torch.arange(3))
    found, _, _, share = mixed(batch, Draw.of(0, 0, place), mixup=0.0, cutmix=1.0)
    own = (found[1] == 1).float().mean()
    assert float(own) == pytest.approx(float(share))
    assert set(found[1].unique().tolist()) <= {0.0, 1.0}


def test_shares_follow_the_beta_distribution():
    shares = [Draw.of(0, 0, place).share(0.4) for place in range(2000)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.02)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.01)


def test_mixed_batches_do_not_depend_on_where_an_epoch_starts():
    task = classification(load("digits"), ClassificationOptions(mixup=0.2, cutmix=1.0))
    whole = list(task.train.epoch(Epoch(3, 0, 128)))
    later = list(task.train.epoch(Epoch(3, 0, 128, start=4)))
    assert all(
        torch.equal(*pair)
        for ours, theirs in zip(whole[4:], later, strict=True)
        for pair in zip(ours, theirs, strict=True)
    )
    shares = {float(batch[3]) for batch in whole}
    assert len(shares) == len(whole)
    plain = list(task.train.epoch(Epoch(3, 0, 128, shared=False)))
    assert {len(batch) for batch in plain} == {2}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label_smoothing": 1.5}, "label_smoothing: Input should be less than 1"),
        ({"smoothing": 0.1}, "smoothing: is not known; did you mean 'label_smoothing'"),
        ({"class_weights": (1.0, 2.0)}, "2 weights for 10 classes"),
        ({"mixup": -1.0}, "mixup: Input should be greater"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(TaskError, match=words):
        find_task(TaskSection(options=options), load("digits"))


# The other tasks


def test_masks_are_cropped_and_flipped_like_their_images():
    """Every image shows its own mask, so they agree wherever the crop did not leave the image."""
    _, masks = drawn_tasks.shapes(24, 0)
    images = masks[:, None].float()
    pair = (images, masks)
    data = from_value("masks", {"train": pair, "test": pair, "augment": "crop_flip"})
    task = segmentation(data)
    changed = 0
    for images, found in task.train.epoch(Epoch(0, 0, 8)):
        seen = found != 255
        assert torch.equal(images[:, 0][seen], found[seen].float())
        assert (images[:, 0][~seen] == 0).all()
        changed += int((~seen).sum())
    assert changed > 0


def test_ignored_pixels_count_neither_in_the_loss_nor_in_the_metrics():
    images, masks = drawn_tasks.shapes(20, 1)
    torch.manual_seed(1)
    net = drawn_tasks.UNet()
    spoilt = masks.clone()
    spoilt[:, :4] = 255
    task = segmentation(from_value("masks", ((images, masks), (images, spoilt))))
    with torch.no_grad():
        outputs = net.eval()(images)
    measured = task.metrics(outputs, (images, spoilt))["pixels"]
    assert measured.numel() == 20 * 12 * 16
    by_hand = cross_entropy(outputs[:, :, 4:], masks[:, 4:])
    assert float(task.loss(outputs, (images, spoilt))) == pytest.approx(float(by_hand), rel=1e-5)


def test_multilabel_metrics_equal_those_of_scikit_learn():
    torch.manual_seed(0)
    images, scores = torch.rand(60, 1, 8, 8), torch.randn(60, 3)
    labels = (torch.rand(60, 3) > 0.6).float()
    task = multilabel(from_value("several", ((images, labels), (images, labels))))
    for part in range(0, 60, 20):
        batch = slice(part, part + 20)
        found = task.metrics(scores[batch], (images[batch], labels[batch]))
        for name, meter in task.meters.items():
            meter.update(*found[name])
    mean = average_precision_score(labels.numpy(), scores.numpy(), average="macro")
    assert float(task.meters["mAP"].compute()) == pytest.approx(mean, abs=1e-5)
    chosen = (scores > 0).int().numpy()
    macro = f1_score(labels.numpy(), chosen, average="macro")
    assert float(task.meters["F1"].compute()) == pytest.approx(macro, abs=1e-5)


def test_regression_takes_labels_of_one_number_and_names_the_metric_of_its_loss():
    images, numbers = torch.rand(6, 1, 8, 8), torch.arange(6.0)
    data = from_value("numbers", ((images, numbers), (images, numbers)))
    task = find_task(TaskSection(name="regression", options={"loss": "l1"}), data)
    outputs = numbers[:, None] + 2
    assert float(task.loss(outputs, (images, numbers))) == 2
    found = task.metrics(outputs, (images, numbers))
    assert list(found) == ["MAE", "MSE"]
    assert float(found["MSE"].mean()) == 4
    assert list(regression(data).metrics(outputs, (images, numbers))) == ["MSE", "MAE"]


IMAGES = torch.rand(6, 1, 8, 8)


@pytest.mark.parametrize(
    ("labels", "name", "words"),
    [
        (torch.rand(6, 3), None, "set task.name to multilabel, regression or segmentation"),
        (torch.rand(6, 3) + 1, "multilabel", "labels are between 1"),
        (torch.arange(6) % 2, "multilabel", r"give float \(6, 2\)"),
        (torch.arange(6) % 2, "regression", "give float numbers"),
        (torch.zeros(6, 4, 4, dtype=torch.int64), "segmentation", r"give int64 \(N, 8, 8\)"),
        (torch.full((6, 8, 8), -1), "segmentation", "masks contain the class -1"),
    ],
)
def test_labels_of_another_kind_are_refused_with_what_would_be_right(labels, name, words):
    with pytest.raises(DataError, match=words):
        find_task(TaskSection(name=name), from_value("own", ((IMAGES, labels), (IMAGES, labels))))


@pytest.mark.parametrize(
    "labels", [torch.full((6,), torch.nan), torch.zeros(5, 2), torch.zeros(6, 2, 2).long()[:, 0]]
)
def test_labels_that_no_task_takes_are_refused_when_they_are_read(labels):
    with pytest.raises(DataError, match="labels"):
        from_value("own", ((IMAGES, labels), (IMAGES, labels)))


def test_outputs_of_another_shape_than_the_labels_are_refused_before_training():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 6), nn.Flatten())
    pair = (IMAGES, torch.rand(6, 2))
    with pytest.raises(TaskError, match=r"outputs are \(6, 3\), labels \(6, 2\)"):
        slimmer.prune(net, (pair, pair), task="regression", flops=0.5)
