"""User tasks: their loaders are repeated and resumed, and a run of each kind ends as it should."""

import copy
from contextlib import suppress
from pathlib import Path

import drawn_tasks
import pytest
import torch
from interrupted import Stopped, stopped_at
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import slimmer
from slimmer.errors import RunError
from slimmer.graph import tensors_in
from slimmer.models.checkpoint import read_weights, save_weights
from slimmer.pipeline.export_run import export_run
from slimmer.pipeline.stages import resume, start
from slimmer.pipeline.sweep import sweep as run_sweep
from slimmer.recipe import read_recipe
from slimmer.reports.compare_runs import compare_runs
from slimmer.reports.comparison_columns import columns
from slimmer.reports.comparison_table import legend, write_comparison
from slimmer.runs.directory import Run
from slimmer.tasks import Epoch, Task
from slimmer.tasks.fit_task import first_batches, fit_task
from slimmer.tasks.read_task import read_task
from slimmer.training.evaluate import evaluate

SHORT = [("budget.flops", 0.5), ("finetune.epochs", 2), ("finetune.lr", 0.01)]
SHORT += [("method.batches", 2), ("finetune.recalibrate", 2), ("finetune.save_every", 1e-6)]


def task_of(made):
    return read_task(made, "task")


def epoch(task, number, start=0, seed=0):
    return list(task.train.epoch(Epoch(number, seed, 1, start=start)))


def equal(ours, theirs):
    pairs = zip(tensors_in(ours), tensors_in(theirs), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_repeats_its_order_and_its_noise_wherever_it_starts(workers):
    task = task_of(drawn_tasks.Shapes(workers, number=24))
    whole = epoch(task, 1)
    torch.manual_seed(5)  # what others draw does not matter
    assert len(whole) == task.train.steps(128) == 3
    assert equal(whole[1:], epoch(task, 1, start=1))
    assert not equal(whole, epoch(task, 2))
    assert not equal(whole, epoch(task, 1, seed=7))
    assert sorted(mask.sum().item() for _, masks in whole for mask in masks) == sorted(
        mask.sum().item() for mask in drawn_tasks.shapes(24, 0)[1]
    )


def test_reading_batches_leaves_the_random_numbers_of_others_alone():
    task = task_of(drawn_tasks.Shapes(number=24))
    torch.manual_seed(3)
    alone = torch.rand(4)
    torch.manual_seed(3)
    found = []
    for _ in task.train.epoch(Epoch(0, 0, 1)):
        found.append(torch.rand(1))
    assert torch.equal(torch.cat(found), alone[:3])


def test_a_generator_of_the_users_own_is_seeded_for_every_epoch():
    images = torch.arange(12.0)
    loader = DataLoader(images, 4, shuffle=True, generator=torch.Generator().manual_seed(9))
    task = task_of(Task(train=loader))
    assert equal(epoch(task, 3), epoch(task, 3))
    assert not equal(epoch(task, 3), epoch(task, 4))


def test_metrics_equal_those_of_the_whole_test_set_by_hand():
    torch.manual_seed(0)
    net = drawn_tasks.UNet().eval()
    task = task_of(drawn_tasks.Shapes())
    task = fit_task(task, net, first_batches(task, print), distill=0.0, trained=False)
    images, masks = drawn_tasks.shapes(20, 1)
    with torch.no_grad():
        chosen = net(images).argmax(1)
    shares = []
    for kind in range(drawn_tasks.CLASSES):
        both = ((chosen == kind) & (masks == kind)).sum()
        shares.append(float(both / ((chosen == kind) | (masks == kind)).sum()))
    found = evaluate(net, task)
    assert list(found) == ["mIoU", "pixels"]
    assert found["mIoU"] == pytest.approx(sum(shares) / 3, abs=1e-6)
    assert found["pixels"] == float((chosen == masks).double().mean())
    assert [(kind.higher_is_better, kind.percent) for kind in task.kinds] == [(True, True)] * 2


@pytest.fixture
def files(tmp_path):
    """A recipe whose network and task are code, and the weights of the network."""
    folder = Path(drawn_tasks.__file__)
    torch.manual_seed(1)
    save_weights(tmp_path / "unet.safetensors", drawn_tasks.UNet(), {})
    arch = [("model.checkpoint", str(tmp_path / "unet.safetensors"))]
    return [*SHORT, *arch, ("model.arch", f"{folder}:UNet"), ("task.name", f"{folder}:make")]


@pytest.mark.parametrize("sparsify", [0.0, 0.5])
def test_a_stopped_run_of_a_user_task_ends_as_an_unbroken_one(tmp_path, files, sparsify):
    recipe = read_recipe(None, [*files, ("method.sparsify", sparsify)])
    whole, report = start(recipe, tmp_path / "whole", latest=False)

    stopped = stopped_at(recipe, tmp_path / "stopped", 8)
    assert stopped.state.is_file()
    again = resume(stopped)
    assert stopped.plan.read_bytes() == whole.plan.read_bytes()
    ours, theirs = read_weights(stopped.slim), read_weights(whole.slim)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert again["metrics"] == report["metrics"]
    assert again["metric"] == {"name": "mIoU", "higher_is_better": True, "percent": True}
    assert report["accuracy"]["slim"] == report["metrics"]["slim"]["mIoU"]
    assert report["flops"]["ratio"] <= 0.5


def test_fine_tuning_by_its_own_loss_raises_the_metric(files, tmp_path):
    """So that the tests above are about a task that is learnt."""
    settings = [("finetune.epochs", 12), ("finetune.distill", 0.0), ("finetune.lr", 0.2)]
    recipe = read_recipe(None, [*files, *settings])
    report = start(recipe, tmp_path / "run", latest=False)[1]
    assert report["accuracy"]["slim"] > report["accuracy"]["removed"] + 0.1


def test_regression_is_scored_by_its_own_loss_and_lower_is_better(tmp_path):
    torch.manual_seed(2)
    recipe, told = read_recipe(None, SHORT), []
    net, task = drawn_tasks.regression_net(), drawn_tasks.Means()
    _, report = start(recipe, tmp_path / "run", told.append, model=net, task=task, latest=False)
    assert report["metric"] == {"name": "MSE", "higher_is_better": False, "percent": False}
    assert all(event["batch_accuracy"] is None for event in told if event["event"] == "step")
    assert report["method"] == "taylor"


def test_unlabelled_images_are_enough_to_fine_tune(tmp_path):
    """A network with two outputs of a dictionary comes nearer to its teacher on both."""
    torch.manual_seed(3)
    dense = drawn_tasks.TwoHeads()
    recipe, told = read_recipe(None, [*SHORT, ("finetune.epochs", 6)]), []
    net = copy.deepcopy(dense)
    _, report = start(
        recipe, tmp_path / "run", told.append, model=net, task=drawn_tasks.Distilled(), latest=False
    )
    losses = [event["loss"] for event in told if event["event"] == "step"]
    assert losses[-1] < 0.5 * losses[0]
    assert report["accuracy"] is None
    assert report["metric"] is None


def test_a_loss_alone_is_its_own_metric():
    images, labels = torch.randn(8, 4), torch.tensor([0, 1] * 4)
    batches = [(images, labels)]
    made = Task(batches, batches, loss=lambda outputs, batch: cross_entropy(outputs, batch[1]))
    net, task = torch.nn.Linear(4, 2), task_of(made)
    task = fit_task(task, net, first_batches(task, print), distill=0.0, trained=True)
    assert task.main.name == "loss"
    assert not task.main.higher_is_better
    with torch.no_grad():
        assert evaluate(net, task)["loss"] == pytest.approx(
            float(cross_entropy(net(images), labels))
        )


def test_arguments_by_name_get_the_order_of_forward():
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def forward(self, first, second):
            return self.scale * first - second

    batches = [{"b": torch.ones(2, 3), "a": torch.full((2, 3), 5.0)}]
    made = Task(
        batches,
        inputs=lambda batch: {"second": batch["b"], "first": batch["a"]},
        loss=lambda outputs, batch: outputs.mean(),
    )
    task = task_of(made)
    task = fit_task(task, Two(), first_batches(task, print), distill=0.0, trained=True)
    first, second = task.inputs(batches[0])
    assert float(first.mean()) == 5
    assert float(second.mean()) == 1


def test_a_loader_without_a_length_is_counted_once_and_said():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(torch.arange(10.0))

    told = []
    task = read_task(Task(train=DataLoader(Stream(), 4)), "task", told.append)
    assert task.train.steps(1) == 3
    assert "counted 3 batches" in told[0]
    task = read_task(Task(train=DataLoader(Stream(), 4), steps=2), "task", told.append)
    assert len(epoch(task, 0)) == task.train.steps(1) == 2
    assert len(told) == 1


def test_a_loader_that_draws_on_its_own_is_said():
    class Drawing:
        def __init__(self):
            self.own = torch.Generator().manual_seed(0)

        def __len__(self):
            return 2

        def __iter__(self):
            return (torch.rand(2, 3, generator=self.own) for _ in range(2))

    told = []
    first_batches(task_of(Task(train=Drawing())), told.append)
    assert "a resumed run is not the same" in told[0]
    told.clear()
    first_batches(task_of(Task(train=[torch.zeros(2, 3)])), told.append)
    assert told == []


def test_a_test_loader_that_shuffles_is_said():
    data, told = TensorDataset(torch.zeros(8, 3)), []
    loaders = {"train": DataLoader(data, 4), "test": DataLoader(data, 4, shuffle=True)}
    read_task(Task(**loaders), "task", told.append)
    assert "shuffle=False" in told[0]


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    """A finished and exported run of the U-Net."""
    torch.manual_seed(0)
    net, task = drawn_tasks.UNet(), drawn_tasks.Shapes(number=24)
    run, _ = start(
        read_recipe(None, SHORT),
        tmp_path_factory.mktemp("segmented") / "run",
        model=copy.deepcopy(net),
        task=task,
        latest=False,
    )
    settings = {"fp16": True, "int8": True, "int8_drop": 1.0}
    found = export_run(run, settings, model=net, task=task)
    return run, found["networks"]


def test_a_files_metrics_are_those_of_pytorch(segmented):
    run, networks = segmented
    slim = networks["slim"]
    report = run.read_report()
    for name, value in report["metrics"]["slim"].items():
        assert slim["metrics"][name] == pytest.approx(value, abs=1e-6)
    assert slim["accuracy"] == slim["metrics"]["mIoU"]
    assert slim["run_on"] == 20
    assert slim["parity"]["test"]["top1_agreement"] == 1.0
    assert networks["slim.int8"]["notes"][0].startswith("mIoU ")
    assert networks["slim.fp16"]["metrics"]["mIoU"] == pytest.approx(slim["accuracy"], abs=0.02)


def test_reports_name_the_metric(segmented):
    run, _ = segmented
    text, found = run.text.read_text(), run.read_report()["accuracy"]
    assert "| on the test data | mIoU | pixels |" in text
    assert f"| dense | {found['dense']:.2%} |" in text
    assert "top-1" not in text


def test_lower_is_better_is_said_in_reports_and_comparisons(tmp_path):
    paths = []
    for seed in (0, 1):
        torch.manual_seed(2)
        recipe = read_recipe(None, [*SHORT, ("finetune.epochs", 1), ("seed", seed)])
        net, task = drawn_tasks.regression_net(), drawn_tasks.Means()
        run, _ = start(recipe, tmp_path / str(seed), model=net, task=task, latest=False)
        paths.append(run.path)
    assert "| MSE on the test data, lower is better |" in run.text.read_text()
    compared = compare_runs(paths)
    assert "MSE: lower is better." in legend(compared)
    heads = [" ".join(column.head) for column in columns(compared)]
    assert {"MSE dense", "MSE removed", "MSE slim"} <= set(heads)
    assert (write_comparison(tmp_path / "out", [compared])[-1]).suffix == ".png"


def test_a_stopped_run_whose_task_was_passed_from_python_is_not_resumed_without_it(tmp_path):
    def stop(event):
        if event["event"] == "removed":
            raise Stopped

    net, task = drawn_tasks.TwoHeads(), drawn_tasks.Distilled()
    recipe = read_recipe(None, [*SHORT, ("model.arch", f"{drawn_tasks.__file__}:TwoHeads")])
    with suppress(Stopped):
        start(recipe, tmp_path / "run", stop, model=net, task=task, latest=False)
    with pytest.raises(RunError, match="task were passed from Python"):
        resume(Run(tmp_path / "run"))


def test_test_images_of_other_sizes_are_left_out_of_a_files_metrics(tmp_path):
    """The network takes them, but a file of one size does not."""
    torch.manual_seed(0)
    small, large = drawn_tasks.shapes(8, 0), torch.rand(4, 1, 24, 24)
    batches = [small, (large, torch.zeros(4, 24, 24, dtype=torch.int64))]
    made = Task(
        train=[small] * 2,
        test=batches,
        loss=lambda outputs, batch: cross_entropy(outputs, batch[1]),
        logits=True,
    )
    net = drawn_tasks.UNet()
    recipe = read_recipe(None, [*SHORT, ("finetune.epochs", 1)])
    run, _ = start(recipe, tmp_path / "run", model=copy.deepcopy(net), task=made, latest=False)
    slim = export_run(run, model=net, task=made)["networks"]["slim"]
    assert slim["accuracy"] is None
    assert slim["parity"]["test"]["images"] == 8


def test_a_distilled_run_of_two_outputs_is_resumed_exported_and_profiled(tmp_path):
    folder = Path(drawn_tasks.__file__)
    torch.manual_seed(1)
    save_weights(tmp_path / "two.safetensors", drawn_tasks.TwoHeads(), {})
    settings = [("model.checkpoint", str(tmp_path / "two.safetensors"))]
    settings += [("model.arch", f"{folder}:TwoHeads"), ("task.name", f"{folder}:distilled")]
    recipe = read_recipe(None, [*SHORT, *settings])
    whole, report = start(recipe, tmp_path / "whole", latest=False)

    stopped = stopped_at(recipe, tmp_path / "stopped", 5)
    resume(stopped)
    ours, theirs = read_weights(stopped.slim), read_weights(whole.slim)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert report["trained_by"] == "Distilled"
    assert "has no metric" in whole.text.read_text()
    slim = export_run(whole)["networks"]["slim"]
    assert slim["parity"]["test"]["max_rel"] < 1e-4
    assert slim["parity"]["test"]["top1_agreement"] is None
    effort = {"batches": (1,), "threads": 1, "seconds": 0.05, "precision": 1.0}
    assert slimmer.profile(whole.path, **effort)["comparisons"]


@pytest.mark.slow
def test_a_sweep_runs_a_task_of_a_file_in_every_row(files, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(read_recipe(None, files).to_yaml())
    sweep = tmp_path / "two.yaml"
    sweep.write_text("version: 1\nrecipe: recipe.yaml\ngrid:\n  budget.flops: [0.7, 0.5]\n")
    found = run_sweep(sweep, tmp_path / "out")
    assert found["failed"] == {}
    (comparison,) = found["comparisons"]
    assert [row["metric"]["name"] for row in comparison["rows"]] == ["mIoU", "mIoU"]
    assert "mIoU slim %" in (tmp_path / "out" / "compare.md").read_text()
