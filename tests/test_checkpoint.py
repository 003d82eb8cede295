"""Weights in and out: every wrapping that is read, every file that is refused, and whose weights
they are.
"""

import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from slimmer.errors import CheckpointError
from slimmer.models import build, find, names
from slimmer.models.checkpoint import load_weights_, read_metadata, read_weights, save_weights
from slimmer.models.identify import identify, infer_sizes

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return build("cifar_resnet8", num_classes=4, in_channels=1).state_dict()


@pytest.fixture
def written(tmp_path):
    def write(value, name="net.pth", **options):
        torch.save(value, tmp_path / name, **options)
        return tmp_path / name

    return write


# Reading


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.module."]
)
@pytest.mark.parametrize("zipped", [True, False])
def test_every_wrapping_is_taken_off(written, weights, wrapper, prefix, zipped):
    value = {prefix + key: each for key, each in weights.items()}
    if wrapper:
        value = {"epoch": 3, wrapper: value, "best": 0.5, "optimizer": {"lr": 0.1}}
    path = written(value, _use_new_zipfile_serialization=zipped)
    assert same(identify(read_weights(path), path.name).weights, weights)


def test_a_wrapper_in_a_wrapper_is_taken_off(written, weights):
    assert same(read_weights(written({"model": {"state_dict": weights}})), weights)


def test_names_are_read_as_they_are(written):
    value = {"module.a": torch.ones(1), "module.b": torch.ones(1)}
    assert set(read_weights(written(value))) == {"module.a", "module.b"}


def test_parameters_are_read_as_plain_tensors(written):
    read = read_weights(written({"a": nn.Parameter(torch.ones(2))}))
    assert type(read["a"]) is torch.Tensor
    assert not read["a"].requires_grad


def test_safetensors_of_another_writer_are_read(tmp_path, weights):
    save_file(
        {"module." + key: each for key, each in weights.items()}, tmp_path / "net.safetensors"
    )
    assert same(identify(read_weights(tmp_path / "net.safetensors"), "net").weights, weights)


# Files that are refused, each with one message


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def hostile_files(folder, mark):
    torch.save(Hostile(mark), folder / "zip.pth")
    torch.save({"state_dict": {"a": torch.ones(2)}, "x": Hostile(mark)}, folder / "hidden.pth")
    torch.save({"a": Hostile(mark)}, folder / "old.pth", _use_new_zipfile_serialization=False)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (folder / f"raw{protocol}.pth").write_bytes(pickle.dumps(Hostile(mark), protocol=protocol))
    (folder / "raw.safetensors").write_bytes(pickle.dumps(Hostile(mark)))


def test_a_hostile_pickle_does_not_run(tmp_path):
    pickle.loads(pickle.dumps(Hostile(tmp_path / "proof")))
    assert (tmp_path / "proof").is_dir()  # elsewhere it would

    files = tmp_path / "files"
    files.mkdir()
    hostile_files(files, tmp_path / "mark")
    refused = {}
    for path in files.iterdir():
        with pytest.raises(CheckpointError) as caught:
            read_weights(path)
        refused[path.name] = caught.value
    assert len(refused) == 10
    assert not (tmp_path / "mark").exists()
    for name in ("zip.pth", "hidden.pth", "old.pth", "raw2.pth"):
        assert "mkdir" in refused[name].found
        assert "can run code" in refused[name].found
        assert "torch.save(model.state_dict(), 'weights.pth')" in refused[name].right


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_pickled_network_is_refused_by_its_class(written, zipped):
    path = written(nn.Sequential(nn.Linear(2, 2)), _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        CheckpointError, match=r"contains torch\.nn\.modules\.container\.Sequential, which is not a"
    ):
        read_weights(path)


def test_a_pickle_without_torch_is_refused(tmp_path):
    (tmp_path / "net.pth").write_bytes(pickle.dumps({"a": [1, 2]}))
    with pytest.raises(CheckpointError, match="contains pickled objects that are not tensors"):
        read_weights(tmp_path / "net.pth")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused(tmp_path):
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(str(tmp_path / "net.pt"))
    with pytest.raises(CheckpointError, match="is a TorchScript program"):
        read_weights(tmp_path / "net.pt")


@pytest.mark.parametrize("form", ["zip", "old", "safetensors"])
def test_a_file_that_is_cut_short_is_refused_wherever_it_is_cut(tmp_path, written, form):
    value = {"a": torch.arange(64.0), "b": torch.arange(8.0).reshape(2, 4)}
    if form == "safetensors":
        path = tmp_path / "net.safetensors"
        save_file(value, path)
    else:
        path = written(value, _use_new_zipfile_serialization=form == "zip")
    content = path.read_bytes()
    assert same(read_weights(path), value)
    for length in [*range(4, len(content), 17), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"truncated|is not a checkpoint"):
            read_weights(path)


def test_changed_bytes_are_noticed(written):
    path = written({"a": torch.zeros(1000)})
    content = bytearray(path.read_bytes())
    start = content.index(bytes(2000)) + 100
    content[start] = 1
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)["a"].count_nonzero() == 1  # torch does not see it
    with pytest.raises(CheckpointError, match="the file is damaged"):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "the file is empty"),
        (b"epoch,loss\n1,2.3\n", "is not a checkpoint: it begins with b'epoch,loss"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is not a checkpoint"),
        (b"\x80\x02garbage of some length", "the file is truncated"),
        (b"PK\x03\x04garbage", "truncated or damaged"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content, found):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=found):
        read_weights(tmp_path / "net.pth")


def test_another_zip_archive_is_refused(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "net.pth", "w") as archive:
        archive.writestr("word/document.xml", "<a/>")
    with pytest.raises(CheckpointError, match="is a zip archive, but not one that torch"):
        read_weights(tmp_path / "net.pth")


def test_a_missing_file_and_a_directory_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        read_weights(tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="this is a directory"):
        read_weights(tmp_path)


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "net.pth").write_bytes(b"x")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CheckpointError, match="can't be read: Permission denied"):
        read_weights(tmp_path / "net.pth")


def itself():
    value = {}
    value["model"] = value
    return value


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({}, "contains no tensors, but nothing"),
        ({"epoch": 3, "loss": 0.5}, r"contains no tensors, but epoch \(int\), loss \(float\)"),
        ({"state_dict": {"lr": 1}}, r"contains no tensors, but state_dict \(dict\)"),
        (itself(), r"contains no tensors, but model \(dict\)"),
        (torch.ones(3), "contains a Tensor, not a dict of tensors"),
        ([torch.ones(3)], "contains a list, not a dict of tensors"),
        (
            {"a": torch.ones(2).to_sparse(), "b": torch.ones(1)},
            r"1 of 2 tensors are not plain tensors: a \(sparse_coo\)",
        ),
        ({"a": torch.ones(2, device="meta")}, r"not plain tensors: a \(without numbers\)"),
    ],
)
def test_other_contents_are_refused(written, value, found):
    with pytest.raises(CheckpointError, match=found):
        read_weights(written(value))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_weights_that_are_not_finite_are_named_and_counted(written, value, dtype):
    broken = {f"layer{n}.weight": torch.full((3,), 1.0, dtype=dtype) for n in range(12)}
    for n in range(10):
        broken[f"layer{n}.weight"][1] = value
    with pytest.raises(
        CheckpointError, match=r"10 of 12 tensors contain NaN or infinity: layer0\.weight, layer1"
    ) as caught:
        read_weights(written(broken))
    assert "layer7.weight" in caught.value.found
    assert "layer8.weight" not in caught.value.found


def test_huge_double_precision_weights_are_finite(written):
    assert (
        read_weights(written({"a": torch.tensor([1e300], dtype=torch.float64)}))["a"].item()
        == 1e300
    )


# Whose weights they are


@pytest.mark.parametrize("name", names())
def test_every_architecture_is_found_from_its_own_weights(name):
    with torch.device("meta"):
        weights = build(name).state_dict()
    found = identify(weights, "net.pth")
    assert (found.matched, found.num_classes, found.in_channels) == (
        name,
        find(name).num_classes,
        find(name).input_size[0],
    )


@pytest.mark.parametrize("name", ["cifar_resnet14_b", "cifar_vgg16_bn", "resnet18"])
def test_sizes_are_found_from_the_weights_in_any_order_of_keys(name):
    weights = build(name, num_classes=23, in_channels=2).state_dict()
    weights = {
        key: weights[key] for key in sorted(weights) if not key.endswith("num_batches_tracked")
    }
    found = identify(weights, "net.pth")
    assert (found.arch, found.num_classes, found.in_channels) == (find(name), 23, 2)
    assert infer_sizes(name, weights) == found


def test_the_files_name_decides_only_between_equals(weights):
    assert identify(weights, "resnet50.pth").matched == "cifar_resnet8"


def test_weights_that_fit_nothing_get_the_nearest_key_by_key():
    weights = build("cifar_resnet20", num_classes=5).state_dict()
    del weights["layer1.1.bn2.weight"]
    weights["layer2.0.conv1.weight"] = torch.zeros(30, 16, 3, 3)
    weights["extra"] = torch.zeros(1)
    with pytest.raises(CheckpointError) as caught:
        identify(weights, "mine.pth")
    assert caught.value.where == "mine.pth"
    assert caught.value.found.splitlines() == [
        (
            "no known architecture has these weights; the nearest is cifar_resnet20 (114 of 116 "
            "keys fit):"
        ),
        "  1 missing: layer1.1.bn2.weight",
        "  1 unexpected: extra",
        "  1 other shapes: layer2.0.conv1.weight [30, 16, 3, 3] for [32, 16, 3, 3]",
    ]
    assert "--arch" in caught.value.right


def test_sizes_come_from_the_weights_for_a_named_architecture(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(
        "from torch import nn\n"
        "def make(num_classes=10, in_channels=3):\n"
        "    return nn.ModuleDict({'z': nn.Conv2d(in_channels, 4, 3), 'b': nn.Conv2d(4, "
        "num_classes, 1)})\n"
    )
    weights = {"b.weight": torch.zeros(6, 4, 1, 1), "z.weight": torch.zeros(4, 2, 3, 3)}
    found = infer_sizes(f"{path}:make", weights)
    assert (found.num_classes, found.in_channels) == (6, 2)
    assert infer_sizes(f"{path}:make", {"other": torch.zeros(1)}).num_classes == 10


def test_inferring_sizes_leaves_the_random_numbers_alone(weights):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    infer_sizes("cifar_resnet8", weights)
    identify(weights, "net.pth")
    assert torch.equal(torch.rand(4), expected)


# Loading


def test_loaded_weights_are_the_networks_and_counters_may_be_missing(weights):
    model = build("cifar_resnet8", num_classes=4, in_channels=1)
    without = {
        key: each for key, each in weights.items() if not key.endswith("num_batches_tracked")
    }
    assert len(without) < len(weights)
    assert not same(model.state_dict(), weights)
    load_weights_(model, without, "net.pth")
    assert same({key: model.state_dict()[key] for key in without}, without)


def test_half_precision_is_converted(weights):
    model = build("cifar_resnet8", num_classes=4, in_channels=1)
    load_weights_(model, {key: each.half() for key, each in weights.items()}, "net.pth")
    assert model.conv1.weight.dtype == torch.float32
    assert torch.equal(model.conv1.weight, weights["conv1.weight"].half().float())


def test_weights_of_another_network_leave_the_model_as_it_was(weights):
    model = build("cifar_resnet14", num_classes=4, in_channels=1)
    before = {key: each.clone() for key, each in model.state_dict().items()}
    with pytest.raises(CheckpointError, match="do not fit this architecture") as caught:
        load_weights_(model, weights, "net.pth")
    assert "30 missing: layer1.1.conv1.weight" in caught.value.found
    assert "and 22 more" in caught.value.found
    assert "nearest known architecture is cifar_resnet8 (44 of 44 keys fit)" in caught.value.right
    assert same(model.state_dict(), before)


@pytest.mark.parametrize(
    "wrong", [torch.zeros(4, 64, dtype=torch.int8), torch.zeros(4, 64, dtype=torch.cfloat)]
)
def test_codes_in_a_weights_place_are_refused(weights, wrong):
    model = build("cifar_resnet8", num_classes=4, in_channels=1)
    with pytest.raises(
        CheckpointError,
        match=r"1 other shapes: linear.weight (int8|complex64) \[4, 64\] for \[4, 64\]",
    ):
        load_weights_(model, {**weights, "linear.weight": wrong}, "net.pth")


# Writing


def test_weights_and_metadata_come_back(tmp_path, weights):
    model = build("cifar_resnet8", num_classes=4, in_channels=1)
    metadata = {"arch": "cifar_resnet8", "plan": '{"ä": [1, 2]}'}
    path = tmp_path / "new" / "net.safetensors"
    save_weights(path, model, metadata)
    assert same(read_weights(path), model.state_dict())
    assert same(load_file(path), model.state_dict())  # as the library itself reads it
    assert read_metadata(path) == metadata
    assert [each.name for each in path.parent.iterdir()] == ["net.safetensors"]


def test_without_metadata_there_is_none(tmp_path, weights):
    save_weights(tmp_path / "net.safetensors", weights, {})
    assert read_metadata(tmp_path / "net.safetensors") == {}


def test_the_same_weights_are_the_same_bytes_in_every_process(tmp_path):
    code = (
        "import sys, torch; from pathlib import Path; from slimmer.models.checkpoint import "
        "save_weights\n"
        "save_weights(Path(sys.argv[1]), {'b': torch.ones(3), 'a': torch.zeros(2)},"
        " {name: name for name in 'hgfedcba'})"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "other.safetensors")], check=True)
    written = {(tmp_path / "other.safetensors").read_bytes()}
    for order in ("abcdefgh", "hgfedcba"):
        save_weights(
            tmp_path / "n.safetensors",
            {"a": torch.zeros(2), "b": torch.ones(3)},
            {name: name for name in order},
        )
        written.add((tmp_path / "n.safetensors").read_bytes())
    assert len(written) == 1


def test_shared_and_strided_tensors_are_written_once_for_each_key(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    tied = {"a": whole, "b": whole, "c": whole.T, "d": whole[1:, :2]}
    before = {key: each.clone() for key, each in tied.items()}
    save_weights(tmp_path / "net.safetensors", tied, {})
    read = read_weights(tmp_path / "net.safetensors")
    assert same(read, before)
    assert all(each.is_contiguous() for each in read.values())
    assert tied["c"].stride() == (1, 4)


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, weights):
    path = tmp_path / "net.safetensors"
    save_weights(path, weights, {"n": "1"})

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save_weights(path, weights, {"n": "2"})
    assert read_metadata(path) == {"n": "1"}
    assert [each.name for each in tmp_path.iterdir()] == ["net.safetensors"]


def test_metadata_of_what_is_no_safetensors_file_is_refused(tmp_path, written, weights):
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read_metadata(written(weights))
    with pytest.raises(CheckpointError, match="does not exist"):
        read_metadata(tmp_path / "none.safetensors")


# Real checkpoints


def real(name):
    path = DATA / "checkpoints" / name
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "name", "right"),
    [
        ("resnet20-12fca82f.th", "cifar_resnet20", 9173),
        ("resnet56-4bfd9763.th", "cifar_resnet56", 9339),
    ],
)
def test_a_published_checkpoint_is_found_and_classifies_as_published(file, name, right):
    path = real(file)
    weights = read_weights(path)
    found = identify(weights, path.name)
    assert (found.matched, found.num_classes, found.in_channels) == (name, 10, 3)
    model = build(found.arch).eval()
    load_weights_(model, found.weights, path.name)

    spec = importlib.util.spec_from_file_location("load_data", DATA / "load_data.py")
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    images, labels = (torch.from_numpy(each.copy()) for each in reader.cifar10("test"))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        hits = sum(
            int((model(((x / 255 - mean) / std).permute(0, 3, 1, 2)).argmax(1) == y).sum())
            for x, y in zip(images.split(500), labels.split(500), strict=True)
        )
    assert hits == right


@pytest.mark.slow
def test_a_published_checkpoint_of_another_network_is_refused():
    path = real("squeezenet1_0-imagenet-deepcompressed.pth")
    with pytest.raises(
        CheckpointError, match=r"52 unexpected: features\.0\.weight, .*, and 44 more"
    ):
        identify(read_weights(path), path.name)
