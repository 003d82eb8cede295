"""Checkpoints as training scripts and hubs write them: each form gives the network that was saved,
to the bit.
"""

import json
import subprocess
import sys
from argparse import Namespace
from collections import OrderedDict, defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from slimmer.errors import CheckpointError
from slimmer.models import build
from slimmer.models.checkpoint import read_entry
from slimmer.pipeline.sources import load_model
from slimmer.recipe.sections import ModelSection

NET = "cifar_resnet8"


def network(seed=0):
    torch.manual_seed(seed)
    model = build(NET, num_classes=5)
    for name, buffer in model.named_buffers():  # running statistics of their own
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture
def saved(tmp_path):
    def save(value, name="net.pth", **options):
        torch.save(value, tmp_path / name, **options)
        return tmp_path / name

    return save


def without_linear(weights):
    return {key: each for key, each in weights.items() if not key.startswith("linear")}


def under(prefix, weights):
    return {prefix + key: each for key, each in weights.items()}


def computes_the_same(path, model, **section):
    """The network that is loaded answers as the one that was saved."""
    source = load_model(ModelSection(checkpoint=str(path), **section))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(source.network(images), model(images))
    return source


def trained(model):
    """An optimizer and a schedule that have taken a step, as scripts save them."""
    copy = build(NET, num_classes=5)
    copy.load_state_dict(model.state_dict())
    optimizer = torch.optim.AdamW(copy.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    copy(torch.randn(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    schedule.step()
    return {"optimizer": optimizer.state_dict(), "lr_scheduler": schedule.state_dict(), "epoch": 3}


def averaged(model):
    """An average as torchvision's reference script keeps it: n_averaged, and module. in front of
    the rest.
    """
    return AveragedModel(network(7)).state_dict()


def test_torchvisions_reference_script(saved, model):
    args = Namespace(
        model="resnet", lr=0.1, data_path=Path("imagenet"), output_dir=PureWindowsPath("out")
    )
    value = {
        "model": model.state_dict(),
        **trained(model),
        "args": args,
        "model_ema": averaged(model),
    }
    source = computes_the_same(saved(value), model)
    note = "\n".join(source.notes)
    assert "the weights are those in model" in note
    assert "model_ema (--set model.entry=model_ema)" in note
    assert "args (plain object)" in note
    average = computes_the_same(saved(value), network(7), entry="model_ema")
    assert "n_averaged" in "\n".join(average.notes)


def test_timms_training_script(saved, model):
    value = {
        "epoch": 3,
        "arch": "resnet8",
        "state_dict": model.state_dict(),
        "optimizer": trained(model)["optimizer"],
        "version": 2,
        "args": Namespace(opt="sgd", aug=None, betas=(0.9, 0.99)),
        "amp_scaler": {"scale": 65536.0, "growth": torch.ones(1)},
        "state_dict_ema": network(7).state_dict(),
        "metric": np.float64(77.5),
    }
    computes_the_same(saved(value), model)
    computes_the_same(saved(value), network(7), entry="state_dict_ema")


@pytest.mark.parametrize("prefix", ["model.", "net.", "net.backbone.", "model.module._orig_mod."])
def test_lightnings_checkpoint(saved, model, prefix):
    value = {
        "epoch": 3,
        "global_step": 100,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": OrderedDict(
            under(prefix, model.state_dict()) | {"criterion.weight": torch.ones(5)}
        ),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {
            "ModelCheckpoint{}": {"best_model_score": torch.tensor(0.5), "dirpath": Path("x")}
        },
        "optimizer_states": [trained(model)["optimizer"]],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": defaultdict(
            list, {"lr": 0.1, "since": datetime.now(UTC), "took": timedelta(1)}
        ),
    }
    source = computes_the_same(saved(value, "last.ckpt"), model)
    assert "criterion.weight" in "\n".join(source.notes)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda sd: {"net": sd, "acc": 91.2, "epoch": 3},
        lambda sd: {"net": sd, "acc": np.float32(91.2), "history": np.arange(3.0),
                    "kept": np.bool_(1)},
        lambda sd: {"weights": sd},
        lambda sd: {"model_state": sd, "step": torch.tensor(3)},
        lambda sd: {"params": sd, "params_ema": network(7).state_dict()},
        lambda sd: {"state": {"network": {"weights": sd}}},
        lambda sd: sd | {"epoch": 3, "arch": NET},
        lambda sd: sd | {"n_averaged": torch.tensor(3)},
        lambda sd: list(sd.items()),
        lambda sd: [[key, each] for key, each in sd.items()],
        lambda sd: {"model": list(sd.items()), "x": 1},
        lambda sd: under("encoder_q.", sd)
                    | {"queue": torch.ones(128, 9), "queue_ptr": torch.zeros(1).long()},
        lambda sd: {"state_dict": under("module.a.b.c.", sd)},
        lambda sd: {key.replace("layer1.", "layer1._orig_mod."): each for key, each in sd.items()},
        lambda sd: {"teacher": {"lr": 0.1}, "student": sd, "mean": torch.ones(3)},
        lambda sd: {"state_dict": under("backbone.", without_linear(sd))
                    | {"head.fc.weight": sd["linear.weight"], "head.fc.bias": sd["linear.bias"]},
                    "meta": {"epoch": 1}},
        lambda sd: {"model": sd, "net": sd},
    ],
)  # fmt: skip
@pytest.mark.parametrize("zipped", [True, False])
def test_whatever_holds_one_set_of_weights(saved, model, wrap, zipped):
    computes_the_same(saved(wrap(model.state_dict()), _use_new_zipfile_serialization=zipped), model)


def test_two_sets_are_asked_for_and_taken_by_name(saved, model):
    path = saved({"generator": model.state_dict(), "critic": network(7).state_dict()})
    with pytest.raises(
        CheckpointError, match=r"2 sets of weights: generator \(44 tensors\), critic"
    ) as caught:
        read_entry(path)
    assert "--set model.entry=generator" in caught.value.right
    computes_the_same(path, model, entry="generator")
    computes_the_same(path, network(7), entry="critic")
    with pytest.raises(CheckpointError, match=r"has no weights under 'actor', but generator"):
        read_entry(path, "actor")


@pytest.mark.parametrize("arch", [None, NET])
def test_a_network_that_is_there_twice_is_asked_for_and_taken_by_its_prefix(saved, model, arch):
    twice = under("module.encoder_q.", model.state_dict()) | under(
        "module.encoder_k.", network(7).state_dict()
    )
    path = saved({"state_dict": twice})
    with pytest.raises(
        CheckpointError, match=r"2 times: under module\.encoder_q, module\.encoder_k"
    ):
        load_model(ModelSection(checkpoint=str(path), arch=arch))
    for entry in ("module.encoder_k", "state_dict.module.encoder_k"):
        computes_the_same(path, network(7), entry=entry, arch=arch)


def test_an_average_beside_the_weights_is_left_aside(saved, model):
    value = under("model.", model.state_dict()) | under(
        "model_ema.module.", network(7).state_dict()
    )
    computes_the_same(saved(value), model)


def test_a_network_with_a_wrapper_of_its_own_is_loaded_under_its_own_names(tmp_path, saved):
    """Its keys all begin with module., which is then no wrapper's."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, "
        "2))\n"
        "    def forward(self, x):\n        return self.module(x)\n"
    )
    from slimmer.models import build

    arch = f"{tmp_path / 'net.py'}:Net"
    own = build(arch)
    for value in (own.state_dict(), under("module.", own.state_dict())):
        source = load_model(
            ModelSection(checkpoint=str(saved(value)), arch=arch, input_size=(3, 8, 8))
        )
        assert all(
            torch.equal(each, own.state_dict()[key])
            for key, each in source.network.state_dict().items()
        )


def test_a_learnt_scale_that_the_architecture_has_not_is_not_passed_over(saved, model):
    path = saved(model.state_dict() | {"layer1.0.scale": torch.tensor(0.5)})
    with pytest.raises(CheckpointError, match=r"1 unexpected: layer1\.0\.scale"):
        load_model(ModelSection(checkpoint=str(path)))


# Hubs


def shards(folder, weights, suffix):
    keys = list(weights)
    names = [f"model-{n}-of-3{suffix}" for n in (1, 2, 3)]
    places = {key: names[number % 3] for number, key in enumerate(keys)}
    for name in names:
        part = {key: each.contiguous() for key, each in weights.items() if places[key] == name}
        if suffix == ".safetensors":
            save_file(part, folder / name)
        else:
            torch.save(part, folder / name)
    return {"metadata": {"total_size": 1}, "weight_map": places}


@pytest.mark.parametrize("form", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("sharded", [True, False])
def test_a_directory_of_the_hub(tmp_path, model, form, sharded):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "resnet"}))
    if sharded:
        index = shards(tmp_path, model.state_dict(), Path(form).suffix)
        (tmp_path / f"{form}.index.json").write_text(json.dumps(index))
        computes_the_same(tmp_path / f"{form}.index.json", model)
    elif form == "model.safetensors":
        save_file(model.state_dict(), tmp_path / form)
    else:
        torch.save(model.state_dict(), tmp_path / form)
    computes_the_same(tmp_path, model)


def test_files_of_the_hubs_cache_are_links(tmp_path, model):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    save_file(model.state_dict(), tmp_path / "blobs" / "abc")
    (tmp_path / "snapshot" / "model.safetensors").symlink_to("../blobs/abc")
    computes_the_same(tmp_path / "snapshot", model)


@pytest.mark.parametrize(
    "index",
    [
        {}, [], {"weight_map": {}}, {"weight_map": []}, {"weight_map": {"a": "../net.safetensors"}},
        {"weight_map": {"a": "/etc/passwd"}}, {"weight_map": {"a": 3}}, {"weight_map": {"a": ""}},
        {"weight_map": {"a": "gone.safetensors"}},
        {"weight_map": {"a": "model.safetensors.index.json"}},
        {"weight_map": {"a": "\0"}}, {"weight_map": {"a": ".."}},
    ],
)  # fmt: skip
def test_an_index_that_is_none_or_leads_elsewhere_is_refused(tmp_path, index):
    save_file({"a": torch.ones(2, 2)}, tmp_path / "net.safetensors")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError):
        read_entry(tmp_path / "hub")


def test_tensors_of_the_index_that_are_in_no_file_are_named(tmp_path):
    save_file({"a": torch.ones(2, 2)}, tmp_path / "net.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "net.safetensors", "b": "net.safetensors"}})
    )
    with pytest.raises(CheckpointError, match="1 tensors of the index are in no file: b"):
        read_entry(tmp_path)


# What stays refused


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_whole_modules_and_programs_come_with_the_two_lines_that_save_their_weights(
    tmp_path, saved
):
    module, traced = tmp_path / "module.pth", tmp_path / "program.pt"
    net = nn.Sequential(nn.Linear(2, 2))
    torch.save(net, module)
    torch.jit.trace(net, torch.ones(1, 2)).save(str(traced))
    for path in (module, traced):
        with pytest.raises(CheckpointError) as caught:
            read_entry(path)
        lines = [line.strip() for line in caught.value.right.splitlines()[1:]]
        assert len(lines) == 2
        code = "\n".join(["import torch", *lines])
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=tmp_path)
        assert torch.equal(read_entry(tmp_path / "weights.pth").weights["0.weight"], net[0].weight)
        (tmp_path / "weights.pth").unlink()


class Sneaky:
    """Pickled as a call of a plain type's stand-in with whatever arguments."""

    def __init__(self, call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("kind", [Namespace, Path, datetime, defaultdict, np.dtype])
def test_stand_ins_keep_nothing_and_call_nothing(saved, kind, tmp_path):
    """Arguments of a plain type's call are forgotten, and its state too."""
    value = {
        "state_dict": {"a": torch.ones(2, 2)},
        "x": Sneaky((kind, (), {"__class__": "x", "a": 1})),
    }
    held = read_entry(saved(value))
    assert set(held.weights) == {"a"}
