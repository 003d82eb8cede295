"""Views of images that come again, and the teacher's answers to them that are remembered."""

from dataclasses import replace
from types import SimpleNamespace

import plain_training
import pytest
import torch
import zoo
from hypothesis import given, settings
from hypothesis import strategies as st
from interrupted import stopped_at
from plain_training import PLAIN
from torch import nn

from slimmer.data import Data, InMemory
from slimmer.data.augment import CROP, FLIP, draws, flipped, normalised, shifted
from slimmer.models import build
from slimmer.models.checkpoint import read_weights, save_weights
from slimmer.pipeline.stages import resume, start
from slimmer.recipe.recipe import make_recipe
from slimmer.tasks import Epoch, classification
from slimmer.tasks.classification import ClassificationOptions
from slimmer.tasks.of_data import Training as Images
from slimmer.tasks.segmentation import segmentation
from slimmer.training import answers
from slimmer.training.answers import make_teacher
from slimmer.training.devices import make_engine
from slimmer.training.learner import make_learner
from slimmer.training.loop import train_

COUNT, BATCH = 30, 8  # three batches an epoch; six images are left out of each
PASS = [8, 8, 7, 7]  # the batches of a pass, which leaves out none
MEAN, STD = (0.5,) * 3, (0.25,) * 3


def training(**changes):
    return plain_training.training(**{"epochs": 5, "views": 2, **changes})


def images(labels, classes="abc", size=zoo.SIZE[1:]):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (COUNT, 3, *size), generator=generator, dtype=torch.uint8)
    split = InMemory(pixels, labels)
    return Data("noise", split, split, tuple(classes), MEAN, STD, size, augment="crop_flip")


@pytest.fixture(scope="module")
def fabric():
    return make_engine("cpu", "32-true")


@pytest.fixture
def data():
    return images(torch.arange(COUNT) % 3)


def by_hand(data, view, seed=PLAIN["seed"]):
    """All images in the order of the split, as epoch `view` shows them."""
    numbers = draws(seed, view, torch.arange(COUNT))
    pixels = flipped(shifted(data.train.images, numbers[:, CROP]), numbers[:, FLIP])
    return normalised(pixels, MEAN, STD)


class Counting(nn.Module):
    """A teacher that remembers the numbers of images that it is given."""

    def __init__(self):
        super().__init__()
        self.net = zoo.make("Chain", torch.float32).eval()
        self.asked = []

    def forward(self, x):
        self.asked.append(len(x))
        return self.net(x)


def taught(fabric, task, plan, parts=()):
    """The teacher, what it was asked in training, the outputs by which it taught, and the events
    that were told; training stops and goes on after each step in `parts`.
    """
    network, told, targets = Counting(), [], []
    teacher = make_teacher(fabric, network, task, plan, told.append)
    network.asked.clear()

    def noted(outputs, target):
        targets.append(target)
        return (outputs - target).square().mean()

    torch.manual_seed(0)
    learner = make_learner(zoo.make("Chain", torch.float32).train(), plan)
    for stop in (*parts, plan.steps(task)):
        train_(
            fabric,
            learner,
            network,
            replace(task, distill=noted),
            plan,
            stop=stop,
            answers=teacher.answers,
        )
    return network, targets, told


# The batches


@given(st.integers(0, 40), st.integers(1, 6), st.integers(0, 5), st.integers(0, 4))
def test_views_come_again_while_the_order_stays_that_of_the_epoch(epoch, views, seed, start):
    numbered = images(torch.arange(COUNT), classes=map(str, range(COUNT)))
    task = Images(numbered)
    wanted = Epoch(epoch, seed, BATCH, start=start, views=views)
    found = list(task.epoch(wanted))
    plain = list(task.epoch(replace(wanted, views=None)))
    assert [labels.tolist() for _, labels in found] == [labels.tolist() for _, labels in plain]
    assert [labels.tolist() for _, labels in found] == [
        places.tolist() for places in task.places(wanted)
    ]
    views_by_hand = by_hand(numbered, epoch % views, seed)
    assert all(torch.equal(seen, views_by_hand[labels]) for seen, labels in found)
    assert len(found) == max(0, 3 - start)


@pytest.mark.parametrize("view", [0, 5])
def test_a_pass_sees_every_image_once_in_the_order_of_the_split(data, view):
    wanted = Epoch(11, PLAIN["seed"], BATCH, views=6) if view else Epoch(0, PLAIN["seed"], BATCH)
    seen, labels = zip(*Images(data).in_order(wanted), strict=True)
    assert [len(batch) for batch in seen] == PASS
    assert torch.equal(torch.cat(labels), data.train.labels)
    assert torch.equal(torch.cat(seen), by_hand(data, view))


def test_masks_are_cropped_and_flipped_as_in_the_epoch_of_their_view():
    """Each image is its own mask."""
    size = (8, 8)
    data = images(torch.zeros(COUNT, *size, dtype=torch.int64), size=size)
    masks = data.train.images[:, 0].long() % 3
    split = InMemory(masks[:, None].to(torch.uint8).expand(-1, 3, -1, -1).contiguous(), masks)
    task = segmentation(replace(data, train=split, test=split))
    for seen, labels in task.train.in_order(Epoch(7, 1, BATCH, views=4)):
        shown = ((seen[:, 0] * 0.25 + 0.5) * 255).round().long()
        inside = labels != 255
        assert 0 < (~inside).sum() < inside.sum()
        assert torch.equal(shown[inside], labels[inside])


@given(
    st.integers(1, 9), st.integers(1, 12), st.integers(1, 4), st.floats(0, 8), st.integers(8, 40)
)
def test_a_view_comes_again_if_two_epochs_of_the_run_show_it(views, size, accumulate, epochs, n):
    split = InMemory(torch.zeros(n, 1, 1, 1), torch.zeros(n, dtype=torch.int64))
    task = classification(Data("zeros", split, split, ("a", "b"), (0.5,), (0.5,), (1, 1)))
    plan = training(views=views, batch_size=size, accumulate=accumulate, epochs=epochs)
    shown = {}
    for batch in range(plan.steps(task) * accumulate):
        epoch = batch // plan.batches(task)
        shown.setdefault(epoch % views, set()).add(epoch)
    wanted = [view for view, its in shown.items() if len(its) > 1]
    assert sorted(wanted) == list(range(plan.repeated_views(task)))
    assert replace(plan, views=None).repeated_views(task) == 0


# The answers


@pytest.mark.parametrize("parts", [(), (1, 2, 7, 12)])
def test_the_network_learns_from_the_answers_of_one_pass_for_each_view(fabric, data, parts):
    task, plan = classification(data), training()
    teacher, targets, told = taught(fabric, task, plan, parts)
    assert teacher.asked == PASS * 2  # two passes, and nothing more
    wanted = {}
    with torch.no_grad():
        for view in (0, 1):
            batches = by_hand(data, view).split(PASS)
            wanted[view] = torch.cat([teacher.net(batch) for batch in batches])
    assert not torch.equal(wanted[0], wanted[1])
    epochs = [Epoch(number, plan.seed, BATCH, views=2) for number in range(5)]
    places = [(epoch.view, each) for epoch in epochs for each in task.train.places(epoch)]
    assert len(targets) == len(places) == 15
    assert all(
        torch.equal(target, wanted[view][each])
        for target, (view, each) in zip(targets, places, strict=True)
    )
    done = [(event["view"], event["done"]) for event in told]
    assert done == [(view, number) for view in (0, 1) for number in (8, 16, 23, 30)]
    assert all((event["views"], event["images"]) == (2, COUNT) for event in told)


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"views": 2, "epochs": 2.3}, PASS + [8] * 3),  # view 1 is shown once
        ({"views": 2, "epochs": 2}, [8] * 6),
        ({"views": 7, "epochs": 2}, [8] * 6),
        ({"views": None, "epochs": 2}, [8] * 6),
        ({"views": 1, "epochs": 1.1, "accumulate": 2}, PASS),  # a fourth batch
        ({"views": 1, "epochs": 2, "distill": 0.0}, []),
    ],
)
def test_there_is_no_pass_for_a_view_that_comes_once(fabric, data, changes, asked):
    teacher, _, told = taught(fabric, classification(data), training(**changes))
    assert teacher.asked == asked
    assert {event["event"] for event in told} <= {"answers"}


def test_views_that_never_come_again_change_nothing(fabric, data):
    found = []
    for views in (None, 3):
        plan = training(views=views, epochs=2.4)
        learner = make_learner(zoo.make("Chain", torch.float32).train(), plan)
        task, network = classification(data), Counting()
        teacher = make_teacher(fabric, network, task, plan, [].append)
        train_(fabric, learner, network, task, plan, stop=7, answers=teacher.answers)
        found.append(learner.state())
    assert all(torch.equal(found[0][name], tensor) for name, tensor in found[1].items())


def test_a_teacher_that_draws_numbers_answers_the_same_in_another_process(fabric, data):
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = zoo.make("Chain", torch.float32).eval()

        def forward(self, x):
            return self.net(x) + torch.rand(1)

    task, plan, found = classification(data), training(), []
    for before in (1, 2):
        torch.manual_seed(before)
        teacher = make_teacher(fabric, Noisy(), task, plan, [].append)
        found.append(torch.cat(list(teacher.answers.of(Epoch(2, plan.seed, BATCH, views=2)))))
    assert torch.equal(*found)


# Answers that can't be remembered


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = zoo.make("Chain", torch.float32).eval()

    def forward(self, x):
        return self.net(x), x


class Pooled(Pair):
    """One answer for the whole batch."""

    def forward(self, x):
        return self.net(x).mean()


@pytest.mark.parametrize("network", [Pair, Pooled])
def test_outputs_other_than_one_tensor_are_not_remembered(fabric, data, network):
    told = []
    teacher = make_teacher(fabric, network(), classification(data), training(), told.append)
    assert teacher.answers is None
    assert [event["event"] for event in told] == ["note"]
    assert "because its output is not one tensor with a row for each image" in told[0]["text"]


def test_images_that_can_not_be_repeated_are_answered_in_every_step(fabric, data):
    class Drifting(InMemory):
        """Images that a generator of their own changes at each reading."""

        readings = 0

        def load(self, *given, **named):
            self.readings += 1
            return (super().load(*given, **named).int() + self.readings).to(torch.uint8)

    told, split = [], Drifting(data.train.images, data.train.labels)
    task = classification(replace(data, train=split))
    assert make_teacher(fabric, Counting(), task, training(), told.append).answers is None
    (note,) = told
    assert "changed by a random generator that slimmer can't seed" in note["text"]


def test_no_batch_of_a_pass_is_much_smaller_than_the_others(data):
    """A network that squeezes its outputs gives other shapes for a single image."""
    data = replace(data, train=InMemory(data.train.images[:25], data.train.labels[:25]))
    seen = [len(batch) for batch, _ in Images(data).in_order(Epoch(0, 3, BATCH))]
    assert seen == [7, 6, 6, 6]


@pytest.mark.parametrize("option", ["mixup", "cutmix"])
def test_mixed_images_are_answered_in_every_step(fabric, data, option):
    task = classification(data, ClassificationOptions(**{option: 0.5}))
    teacher, _, told = taught(fabric, task, training())
    assert teacher.asked == [8] * 15
    (note,) = told
    assert "mixup and CutMix mix other images in every epoch" in note["text"]


def test_several_processes_run_the_teacher_in_every_step(data):
    two, told = SimpleNamespace(world_size=2), []
    assert make_teacher(two, Pair(), classification(data), training(), told.append).answers is None
    (note,) = told
    assert "several processes train together" in note["text"]


@pytest.mark.parametrize("spare", [0, -1])
def test_answers_that_take_too_much_memory_are_not_remembered(fabric, data, monkeypatch, spare):
    """Float32 for each output, image and view."""
    outputs = Counting()(torch.zeros(1, *zoo.SIZE)).shape[1]
    monkeypatch.setattr(answers, "MOST_BYTES", COUNT * outputs * 4 * 2 + spare)
    teacher, _, told = taught(fabric, classification(data), training())
    notes = [event["text"] for event in told if event["event"] == "note"]
    assert teacher.asked == ([8] * 15 if notes else PASS * 2)
    assert len(notes) == -spare
    assert all("because its answers take" in note for note in notes)


# A run in two parts


def recipe_of(folder, method, **tuned):
    weights = folder / "dense.safetensors"
    if not weights.exists():
        torch.manual_seed(0)
        save_weights(weights, build("cifar_resnet8", in_channels=1), {})
    common = {"epochs": 2.4, "batch_size": 128, "save_every": 1e-6, "recalibrate": 1}
    made = {
        "model": {"checkpoint": str(weights), "arch": "cifar_resnet8"},
        "data": {"name": "digits", "trust": True, "size": 8, "augment": "crop", "views": 2},
        "budget": {"flops": 0.5},
        "method": method,
        "finetune": {**common, **tuned},
    }
    return make_recipe(made, "here")


@pytest.mark.parametrize(
    ("method", "tuned", "stops"),  # 11 batches an epoch; view 0 comes again, view 1 does not
    [
        ({"name": "magnitude"}, {}, (5, 24)),
        ({"name": "magnitude"}, {"accumulate": 2, "ema": 0.9}, (12,)),
        ({"name": "taylor", "sparsify": 0.95, "batches": 1}, {}, (23,)),
        ({"name": "maskconvnet", "sparsify": 0.5}, {}, (24,)),
    ],
)
def test_a_stopped_run_with_remembered_answers_ends_as_an_unbroken_one(
    tmp_path, method, tuned, stops
):
    recipe = recipe_of(tmp_path, method, **tuned)
    whole, report = start(recipe, tmp_path / "whole", latest=False)
    passes = [event for event in whole.read_events() if event["event"] == "answers"]
    assert [(event["view"], event["done"]) for event in passes] == [(0, passes[0]["images"])]
    theirs = read_weights(whole.slim)
    for stop in stops:
        run = stopped_at(recipe, tmp_path / f"stopped{stop}", stop)
        again = resume(run)
        ours = read_weights(run.slim)
        assert run.plan.read_bytes() == whole.plan.read_bytes()
        assert run.slim.read_bytes() == whole.slim.read_bytes()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
        assert again["accuracy"] == report["accuracy"]


def test_answers_of_other_images_lead_elsewhere(tmp_path, monkeypatch):
    """So that the test above can fail."""
    recipe = recipe_of(tmp_path, {"name": "magnitude"})
    whole, _ = start(recipe, tmp_path / "whole", latest=False)
    run = stopped_at(recipe, tmp_path / "stopped", 24)
    passed = answers.Answers._pass
    monkeypatch.setattr(answers.Answers, "_pass", lambda *given: passed(*given).flip(0))
    resume(run)
    assert run.slim.read_bytes() != whole.slim.read_bytes()


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 3), st.integers(1, 3))
def test_answers_do_not_depend_on_the_epoch_that_asks_first(epoch, views):
    task, plan = classification(images(torch.arange(COUNT) % 3)), training(views=views, epochs=9)
    fabric, network = make_engine("cpu", "32-true"), zoo.make("Chain", torch.float32).eval()
    found = []
    for first in (epoch % views, epoch + views):
        held = make_teacher(fabric, network, task, plan, [].append).answers
        asked = Epoch(first, plan.seed, BATCH, views=views)
        list(held.of(asked))
        found.append(torch.cat(list(held.of(replace(asked, number=epoch)))))
    assert torch.equal(*found)
