"""Mistakes in a user's task: each is one message, before anything is trained or written."""

import os
import re
from pathlib import Path

import drawn_tasks
import pytest
import torch
from main_job import slimmer
from torch.utils.data import DataLoader, Dataset
from torchmetrics import ConfusionMatrix, MeanSquaredError, Metric

import slimmer as package
from slimmer.errors import RecipeError, SlimmerError, TaskError
from slimmer.pipeline.stages import start
from slimmer.recipe import read_recipe
from slimmer.tasks import Task

BATCH = (torch.rand(4, 1, 16, 16), torch.rand(4, 2))
GOOD = [BATCH] * 3
ONE_SHOT = {"flops": 0.5, "epochs": 1, "method.batches": 1}


def squares(outputs, batch):
    return (outputs - batch[1]).square().mean()


def refused(task=None, net=None, error=TaskError, **options):
    """The message with which pruning by a task ends."""
    net = drawn_tasks.regression_net() if net is None else net
    with pytest.raises(error) as raised:
        package.prune(net, task=task, **{**ONE_SHOT, **options})
    assert raised.value.exit_code == 2
    return str(raised.value)


class Unbounded(Metric):
    """A meter that does not say whether higher is better."""

    higher_is_better = None

    def update(self, *_):
        pass

    def compute(self):
        return torch.tensor(1.0)


class Failing(Unbounded):
    def update(self, *_):
        raise RuntimeError("preds and target differ")


class Endless:
    """A loader whose second pass is empty."""

    def __init__(self):
        self.passes = 0

    def __len__(self):
        return 3

    def __iter__(self):
        self.passes += 1
        return iter(GOOD if self.passes == 1 else [])


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (object(), "without the attribute 'train'"),
        (drawn_tasks.Means, "is the class Means"),
        (Task(train=3), "is a int, which can't be iterated"),
        (Task(train=[]), "the training loader: has no batches"),
        (Task(train=GOOD, test=[]), "the test loader: has no batches"),
        (Task(train=iter(GOOD)), "can be iterated only once"),
        (Task(train=(batch for batch in GOOD)), "is a generator, which can be iterated only once"),
        (Task(train=Endless(), loss=squares), "the training loader: ends after 0 of 3 batches"),
        (Task(train=GOOD, loss=3), "loss is a int"),
        (Task(train=GOOD, meters=[MeanSquaredError()]), "meters is a list"),
        (Task(train=GOOD, steps=0), "steps is 0"),
        (Task(train=GOOD, loss=lambda o, b: (o - b[1]).square()), r"has the shape \(4, 2\)"),
        (Task(train=GOOD, loss=lambda o, b: 3.0), "is a float"),
        (Task(train=GOOD, loss=lambda o, b: o.mean() / 0), "is (inf|-inf) on the dense network"),
        (Task(train=GOOD, loss=lambda o, b: o.mean() * torch.nan), "is nan on the dense network"),
        (Task(train=GOOD, loss=lambda o, b: o.detach().mean()), "has no gradient"),
        (Task(train=GOOD, loss=lambda o, b: o[7].mean()), "fails with IndexError"),
        (Task(train=GOOD, loss=squares, inputs=lambda b: [b[0]]), "a tuple of the arguments, not"),
        (Task(train=GOOD, loss=squares, inputs=lambda b: b["image"]), "inputs: fails with TypeErr"),
        (Task(GOOD, loss=squares, distill=lambda o, t: o - t), r"distill: has the shape \(4, 2\)"),
        (Task(GOOD, GOOD, loss=squares, meters={"it": Failing()}), "preds and target differ"),
        (Task(GOOD, GOOD, loss=squares, meters={"it": Unbounded()}), "whether higher is better"),
        (Task(GOOD, GOOD, loss=squares, meters={"it": 3}), "is a int without update"),
        (
            Task(
                GOOD,
                GOOD,
                loss=squares,
                meters={"it": ConfusionMatrix(task="binary")},
                metrics=lambda o, b: {"it": (o > 0, b[1] > 0)},
            ),
            "computes several numbers",
        ),
        (Task(GOOD, GOOD, loss=squares, metrics=lambda o, b: o), "is a Tensor\n.*dictionary"),
        (Task(GOOD, GOOD, loss=squares, metrics=lambda o, b: {"it": 3}), "a tensor of values"),
        (
            Task(GOOD, GOOD, loss=squares, metrics=lambda o, b: {"it": o}),
            r"higher_is_better = \{'it': True\}",
        ),
        (
            Task(GOOD, GOOD, meters={"it": MeanSquaredError()}, metrics=lambda o, b: {}),
            "has no entry for 'it'",
        ),
    ],
)
def test_a_task_that_does_not_work_is_refused_before_anything_is_trained(task, words):
    found = refused(task)
    assert re.search(words, found), found


def test_a_task_without_a_loss_needs_distillation():
    found = refused(Task(train=GOOD), **{"finetune.distill": 0.0})
    assert "has no loss, and finetune.distill is 0" in found


def test_views_of_a_loader_of_ones_own_do_not_repeat():
    found = refused(Task(GOOD, loss=squares), error=RecipeError, **{"data.views": 2})
    assert "data.views: is for slimmer's own augmentation" in found


def test_outputs_that_the_teacher_does_not_have_are_refused():
    class Other(torch.nn.Module):
        input_size = (1, 16, 16)

        def __init__(self):
            super().__init__()
            self.body, self.head = torch.nn.Conv2d(1, 8, 3), torch.nn.Conv2d(8, 2, 1)

        def forward(self, x):
            found = self.head(self.body(x).relu())
            return {"loss_map": found} if self.training else found.mean((2, 3))

    loss = lambda outputs, batch: sum(t.mean() for t in package_tensors(outputs))  # noqa: E731
    assert "no tensor of floats that the teacher's have too" in refused(
        Task(train=GOOD, loss=loss), Other()
    )


def package_tensors(value):
    return value.values() if isinstance(value, dict) else [value]


def test_data_and_a_task_of_ones_own_exclude_each_other():
    found = refused(Task(train=GOOD, loss=squares), **{"data.name": "digits"})
    assert "has loaders of its own, but data are given too" in found


def test_batches_that_change_their_structure_are_named(tmp_path):
    odd = [BATCH, BATCH, (BATCH[0], BATCH[1].long())]
    found = refused(Task(train=odd, loss=squares))
    assert "the training loader, batch 3" in found
    assert "float32 (4 dimensions) and int64 (2 dimensions), but the first is" in found


class Dying(Dataset):
    """Its worker process ends without a word."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 5:
            os._exit(1)
        return torch.rand(1, 16, 16), torch.rand(2)


class Broken(Dying):
    def __getitem__(self, index):
        if index == 5:
            raise OSError("image 5 is truncated")
        return torch.rand(1, 16, 16), torch.rand(2)


@pytest.mark.parametrize(
    ("data", "workers", "words"),
    [(Dying(), 1, "a worker process died"), (Broken(), 1, "image 5 is truncated")],
)
def test_a_worker_that_dies_or_fails_is_one_message_with_the_batch(data, workers, words):
    loader = DataLoader(data, 2, num_workers=workers)
    found = refused(Task(train=loader, loss=squares), **{"finetune.distill": 0.0})
    assert words in found
    assert "the training loader, batch " in found
    assert "Traceback" not in found


def test_a_loss_that_breaks_later_stops_the_run_with_one_message(tmp_path):
    calls = []

    def breaking(outputs, batch):
        calls.append(1)
        if len(calls) > 6:
            raise ValueError("a mask is missing")
        return squares(outputs, batch)

    settings = [("budget.flops", 0.5), ("finetune.epochs", 3), ("method.batches", 1)]
    with pytest.raises(TaskError, match="loss: fails with ValueError: a mask is missing"):
        start(
            read_recipe(None, settings),
            tmp_path / "run",
            model=drawn_tasks.regression_net(),
            task=Task(train=GOOD, loss=breaking),
            latest=False,
        )


FILE = """
import sys
sys.path.insert(0, {folder!r})
from drawn_tasks import Means, regression_net

def make():
    return Means()

def failing():
    raise KeyError("masks")
"""


@pytest.fixture
def file(tmp_path):
    place = tmp_path / "means.py"
    place.write_text(FILE.format(folder=str(Path(drawn_tasks.__file__).parent)))
    torch.manual_seed(0)
    torch.save(drawn_tasks.regression_net().state_dict(), tmp_path / "net.pth")
    return place


def prune(file, task, *more):
    network = [file.parent / "net.pth", "--arch", f"{file}:regression_net"]
    options = ["--flops", "0.5", "--epochs", "1", "--out", file.parent / "run"]
    return slimmer("prune", *network, "--task", task, *options, *more)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("makes", "there is no function 'makes'\n  did you mean 'make'"),
        ("failing", "failed with KeyError"),
    ],
)
def test_a_task_file_that_fails_is_one_message_with_exit_code_2(file, function, words):
    told = prune(file, f"{file}:{function}")
    assert told.exit_code == 2
    assert words in told.stderr
    assert "Traceback" not in told.output
    assert not (file.parent / "run").exists()


def test_the_command_line_runs_a_task_resumes_it_and_asks_again_if_its_code_changed(file):
    told = prune(file, f"{file}:make")
    assert told.exit_code == 0, told.output
    assert "MSE" in told.stdout
    run = file.parent / "run"
    exported = slimmer("export", run)
    assert exported.exit_code == 0, exported.output
    assert "MSE" in exported.stdout
    file.write_text(file.read_text() + "\n# changed\n")
    again = slimmer("export", run)
    assert again.exit_code == 2
    assert "--trust-code" in again.stderr
    trusted = slimmer("export", run, "--trust-code")
    assert trusted.exit_code == 0, trusted.output
    file.unlink()
    gone = slimmer("export", run, "--trust-code")
    assert isinstance(gone.exception, SystemExit | SlimmerError)
    assert "does not exist" in gone.stderr
