"""Weights as trainers write them, adopted into a run: each form gives the network that was trained,
to the bit.
"""

import json
from argparse import Namespace
from functools import partial

import pytest
import torch
from main_job import slimmer as command
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel

import slimmer
from slimmer.models import build


@pytest.fixture(scope="module")
def run(checkpoint, tmp_path_factory):
    """A run without training, whose slim network is trained elsewhere."""
    place = tmp_path_factory.mktemp("forms") / "run"
    slimmer.prune(checkpoint, flops=0.5, input_size=(1, 16, 16), out=place)
    return place


def trained(run, seed=0):
    """The slim network after training, which here draws its weights anew, and its optimizer."""
    model = slimmer.load(run).train()
    torch.manual_seed(seed)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 0.9)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(4, 1, 16, 16)).square().mean().backward()
    optimizer.step()
    return model.eval(), optimizer


def under(prefix, weights):
    return {prefix + key: each for key, each in weights.items()}


def lightning(model, optimizer, other, prefix="model.", **more):
    """What `Trainer.save_checkpoint` writes: the module's weights among its own state."""
    callback = "ModelCheckpoint{'monitor': None, 'mode': 'min'}"
    return {
        "epoch": 3,
        "global_step": 12,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {**under(prefix, model.state_dict()), **more},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 3}}}},
        "callbacks": {callback: {"best_model_score": torch.tensor(0.5), "best_k_models": {}}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1},
    }


def timm(model, optimizer, other):
    """What timm's CheckpointSaver writes, with an average of the weights."""
    return {
        "epoch": 3,
        "arch": "resnet8",
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "version": 2,
        "args": Namespace(lr=0.1, model="resnet8"),
        "amp_scaler": {"scale": 65536.0, "growth_factor": 2.0},
        "state_dict_ema": other.state_dict(),
        "metric": 91.2,
    }


def swa(model, optimizer, other):
    average = AveragedModel(other)
    average.update_parameters(model)
    average.module.load_state_dict(model.state_dict())
    return average.state_dict()


def hugging_face(model, folder):
    """A directory as `Trainer.save_model` writes it."""
    folder.mkdir()
    weights = {
        key: tensor.contiguous() for key, tensor in under("net.", model.state_dict()).items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"architectures": ["Slim"]}))
    return folder


LOSS = {"criterion.weight": torch.ones(10)}
FORMS = {
    "a state dict": lambda model, *_: model.state_dict(),
    "Lightning": lightning,
    "Lightning around a wrapper with a loss": partial(lightning, prefix="net.backbone.", **LOSS),
    "Lightning, compiled": partial(lightning, prefix="model._orig_mod."),
    "timm": timm,
    "torch.compile": lambda model, *_: under("_orig_mod.", model.state_dict()),
    "DDP": lambda model, *_: {"model": under("module.", model.state_dict()), "epoch": 3},
    "DDP of a compiled network": lambda model, *_: under("module._orig_mod.", model.state_dict()),
    "a compiled DDP": lambda model, *_: under("_orig_mod.module.", model.state_dict()),
    "SWA": swa,
    "ultralytics, as a state dict": lambda model, *_: {
        "model": under("model.", model.state_dict())
    },
}


def computes_the_same(run, model):
    with torch.no_grad():
        images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(1))
        assert torch.equal(slimmer.load(run)(images), model(images))


@pytest.mark.parametrize("form", FORMS)
def test_weights_that_a_trainer_wrote_are_adopted(form, run, tmp_path):
    model, optimizer = trained(run)
    torch.save(FORMS[form](model, optimizer, trained(run, 1)[0]), tmp_path / "last.pth.tar")
    result = command("adopt", run, tmp_path / "last.pth.tar", "--out", tmp_path / "mine")
    assert result.exit_code == 0, result.output
    computes_the_same(tmp_path / "mine", model)


@pytest.mark.parametrize("part", ["", "model.safetensors"])
def test_what_hugging_faces_trainer_writes_is_adopted(part, run, tmp_path):
    model, _ = trained(run)
    folder = hugging_face(model, tmp_path / "checkpoint-12")
    result = command("adopt", run, folder / part, "--out", tmp_path / "mine")
    assert result.exit_code == 0, result.output
    computes_the_same(tmp_path / "mine", model)


def test_an_average_is_named_and_chosen(run, tmp_path):
    average, (model, optimizer) = trained(run, 1)[0], trained(run)
    torch.save(timm(model, optimizer, average), tmp_path / "last.pth.tar")
    plain = command("adopt", run, tmp_path / "last.pth.tar", "--out", tmp_path / "plain")
    assert "state_dict_ema (--entry state_dict_ema)" in plain.stderr
    args = ("adopt", run, tmp_path / "last.pth.tar", "--out", tmp_path / "mine")
    assert command(*args, "--entry", "state_dict_ema").exit_code == 0
    computes_the_same(tmp_path / "mine", average)


def test_the_students_weights_are_taken_where_its_dense_teacher_lies_beside_it(run, tmp_path):
    model, optimizer = trained(run)
    teacher = under("teacher.", build("cifar_resnet8", in_channels=1).state_dict())
    torch.save(lightning(model, optimizer, None, "student.", **teacher), tmp_path / "last.ckpt")
    result = command("adopt", run, tmp_path / "last.ckpt", "--out", tmp_path / "mine")
    assert result.exit_code == 0, result.output
    computes_the_same(tmp_path / "mine", model)


def test_an_adopted_run_is_pruned_on_and_loads_from_the_unpruned_architecture(run, tmp_path):
    model, _ = trained(run)
    torch.save(model.state_dict(), tmp_path / "last.pth")
    assert command("adopt", run, tmp_path / "last.pth", "--out", tmp_path / "mine").exit_code == 0
    args = ("--flops", "0.6", "--epochs", "0", "--out", tmp_path / "again")
    result = command("prune", tmp_path / "mine", *args)
    assert result.exit_code == 0, result.output
    again = slimmer.load(tmp_path / "again")  # no module is given
    first, left = model.conv1.weight, again.conv1.weight  # the stem's, which read the image
    rows = [int((first == each).flatten(1).all(1).sum()) for each in left]
    assert rows == [1] * len(left)  # trained filters
    assert len(left) < len(first)


def test_a_run_of_a_module_with_a_named_architecture_needs_the_module_no_more(tmp_path):
    """Its number of classes is not the architecture's own."""
    dense = build("cifar_resnet8", in_channels=1, num_classes=3)
    pruned = slimmer.prune(
        dense, torch.rand(1, 1, 16, 16), flops=0.5, arch="cifar_resnet8", out=tmp_path / "run"
    )
    torch.save(pruned.model.state_dict(), tmp_path / "last.pth")
    args = (tmp_path / "run", tmp_path / "last.pth", "--out", tmp_path / "mine")
    assert command("adopt", *args).exit_code == 0
    computes_the_same(tmp_path / "mine", pruned.model)


def test_weights_in_half_precision_become_the_networks_own_type(run, tmp_path):
    """As ultralytics saves them; the right values are the same numbers, rounded to half."""
    model, _ = trained(run)
    torch.save(model.half().state_dict(), tmp_path / "best.pt")
    assert command("adopt", run, tmp_path / "best.pt", "--out", tmp_path / "mine").exit_code == 0
    assert {each.dtype for each in slimmer.load(tmp_path / "mine").parameters()} == {torch.float32}
    computes_the_same(tmp_path / "mine", model.float())


def test_a_file_of_ultralytics_holds_code_and_says_how_its_weights_are_saved(run, tmp_path):
    # the pickle of {"ema": DetectionModel()}, written by hand
    content = b"\x80\x02}q\x00X\x03\x00\x00\x00emaq\x01cultralytics.nn.tasks\n"
    (tmp_path / "best.pt").write_bytes(content + b"DetectionModel\nq\x02)\x81q\x03s.")
    result = command("adopt", run, tmp_path / "best.pt", "--out", tmp_path / "mine")
    assert result.exit_code == 2
    assert f"model = ultralytics.YOLO('{tmp_path / 'best.pt'}').model" in result.stderr
    assert not (tmp_path / "mine").exists()
