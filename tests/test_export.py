"""ONNX export: what is in the file, what stays as it was, and what is refused."""

import errno
import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

from slimmer.errors import ExportError
from slimmer.exporting import onnx as export
from slimmer.exporting import parity
from slimmer.exporting.onnx import export_onnx, read_input_size, read_metadata
from slimmer.exporting.parity import check_parity

SIZE = (3, 8, 8)
METADATA = {"slimmer": "0.1", "flops": "0.498 of dense"}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


class Several(Net):
    def forward(self, x):
        logits = super().forward(x)
        return {"logits": logits, "more": (2 * logits, None, logits + 1)}


class FixedBatch(Net):
    def forward(self, x):
        return super().forward(x).view(2, 4)


class Branching(Net):
    def forward(self, x):
        logits = super().forward(x)
        return logits if logits.sum() > 0 else -logits


def make(kind=Net, seed=0):
    torch.manual_seed(seed)
    model = kind()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    model.norm.running_mean.normal_()
    model.norm.running_var.uniform_(0.5, 2)
    return model


def images(number):
    return torch.randn(number, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A network in train mode but for one layer, in channels_last; its state before; its file."""
    model = make().to(memory_format=torch.channels_last).train()
    model.norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    path = tmp_path_factory.mktemp("export") / "net.onnx"
    export_onnx(model, path, SIZE, metadata=METADATA)
    return model, before, path


def copy_of(path, folder, change):
    file = onnx.load(path)
    change(file)
    onnx.save(file, folder / "changed.onnx")
    return folder / "changed.onnx"


def test_the_file_has_the_agreed_names_a_dynamic_batch_and_the_metadata(exported):
    _, _, path = exported
    file = onnx.load(path)
    assert [value.name for value in file.graph.input] == ["input"]
    assert [value.name for value in file.graph.output] == ["logits"]
    shape = file.graph.input[0].type.tensor_type.shape.dim
    assert shape[0].dim_param == "batch"
    assert [size.dim_value for size in shape[1:]] == [3, 8, 8]
    assert file.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert read_metadata(path) == METADATA
    assert read_input_size(path) == SIZE
    assert min(entry.version for entry in file.opset_import) >= 18


def test_the_file_is_one_and_tells_nothing_of_the_machine(exported):
    _, _, path = exported
    assert [each.name for each in path.parent.iterdir()] == ["net.onnx"]
    content = path.read_bytes()
    assert Path(__file__).name.encode() not in content
    assert b"stack_trace" not in content
    assert b"site-packages" not in content


def test_exporting_leaves_the_network_as_it_was(exported):
    model, before, _ = exported
    assert [model.training, model.conv.training, model.norm.training] == [True, True, False]
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert model.conv.weight.requires_grad


def test_the_file_computes_what_the_network_computes_in_eval_mode(exported):
    model, _, path = exported
    x = images(3)
    with torch.no_grad():
        expected = make().eval()(x).numpy()
    (got,) = ReferenceEvaluator(str(path)).run(None, {"input": x.numpy()})
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    parity = check_parity(model, path, x)
    assert parity.max_rel < 1e-5
    assert parity.max_abs < 1e-5 * np.abs(expected).max()
    assert (parity.top1_agreement, parity.images) == (1.0, 3)
    assert model.training  # the check leaves it alone too


def test_a_second_export_prints_nothing_and_gives_the_same_bytes(
    exported, tmp_path, capfd, monkeypatch
):
    # torch's log has its own way to stderr, past pytest; so warnings are caught before they get
    # there.
    logged = []
    monkeypatch.setattr(logging.Logger, "callHandlers", lambda self, record: logged.append(record))
    model, _, path = exported
    export_onnx(model, tmp_path / "again.onnx", SIZE, metadata=METADATA)
    assert capfd.readouterr() == ("", "")
    assert [record for record in logged if record.levelno >= logging.WARNING] == []
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


def test_several_outputs_are_logits_and_then_numbered_in_the_opset_asked_for(tmp_path):
    model = make(Several).eval()
    path = tmp_path / "several.onnx"
    export_onnx(model, path, SIZE, metadata={}, opset=19)
    file = onnx.load(path)
    assert [value.name for value in file.graph.output] == ["logits", "output_1", "output_2"]
    assert [entry.version for entry in file.opset_import if entry.domain == ""] == [19]
    assert check_parity(model, path, images(2)).max_rel < 1e-5


@pytest.mark.parametrize(("kind", "reason"), [(FixedBatch, "batch"), (Branching, "data-dependent")])
def test_what_cannot_be_traced_is_refused_in_one_quiet_line(kind, reason, tmp_path, capfd):
    with pytest.raises(ExportError, match=kind.__name__) as caught:
        export_onnx(make(kind), tmp_path / "net.onnx", SIZE, metadata={})
    assert reason in caught.value.found
    assert "\n" not in caught.value.found
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_an_opset_that_would_be_replaced_silently_is_refused(tmp_path):
    with pytest.raises(ExportError, match="17 is too old"):
        export_onnx(make(), tmp_path / "net.onnx", SIZE, metadata={}, opset=17)
    with pytest.raises(ExportError, match="99 is newer than the installed onnx"):
        export_onnx(make(), tmp_path / "net.onnx", SIZE, metadata={}, opset=99)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("owner", "name"),
    [(torch.export, "export"), (onnx.checker, "check_model"), (Path, "write_bytes")],
)
def test_ctrl_c_leaves_the_old_file_and_the_logging_as_they_were(
    owner, name, exported, tmp_path, monkeypatch
):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    file = onnx.load(exported[2])
    model = make().train()
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")
    level = logging.root.manager.disable
    if owner is not torch.export:  # what comes after the conversion needs none
        monkeypatch.setattr(export, "_convert", lambda *_: file)
    monkeypatch.setattr(owner, name, interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_onnx(model, path, SIZE, metadata={})
    assert [each.name for each in tmp_path.iterdir()] == ["net.onnx"]
    assert path.read_bytes() == b"old"
    assert logging.root.manager.disable == level
    assert model.norm.training


def test_a_full_disk_is_one_error_and_the_old_file_stays(exported, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    file = onnx.load(exported[2])
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")
    monkeypatch.setattr(export, "_convert", lambda *_: file)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ExportError, match="No space left"):
        export_onnx(make(), path, SIZE, metadata={})
    assert [each.name for each in tmp_path.iterdir()] == ["net.onnx"]
    assert path.read_bytes() == b"old"


def test_the_file_of_another_network_fails_the_parity_check(exported):
    with pytest.raises(ExportError, match="output 0 differs by"):
        check_parity(make(seed=5), exported[2], images(4))
    with pytest.raises(ExportError, match="outputs of shapes"):
        check_parity(make(Several), exported[2], images(4))


@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("fixed", [1, 4])
def test_a_fixed_batch_is_noticed(fixed, number, exported, tmp_path):
    def fix(file):
        file.graph.input[0].type.tensor_type.shape.dim[0].dim_value = fixed

    model, _, path = exported
    with pytest.raises(ExportError, match="with any batch size"):
        check_parity(model, copy_of(path, tmp_path, fix), images(number))


def test_a_weight_that_is_off_by_a_thousandth_of_the_scale_is_noticed(exported, tmp_path):
    def shift(file):
        bias = next(tensor for tensor in file.graph.initializer if tensor.name == "head.bias")
        moved = onnx.numpy_helper.to_array(bias).copy()
        moved[0] += 1e-3 * scale
        bias.CopyFrom(onnx.numpy_helper.from_array(moved, bias.name))

    model, _, path = exported
    with torch.no_grad():
        scale = make().eval()(images(4)).abs().max().item()
    changed = copy_of(path, tmp_path, shift)
    with pytest.raises(ExportError, match="output 0 differs"):
        check_parity(model, changed, images(4))
    parity = check_parity(model, changed, images(4), tolerance=1e-2)
    assert parity.max_abs == pytest.approx(1e-3 * scale, rel=0.01)


def test_another_class_fails_only_where_the_class_was_clear():
    def compare(expected, got):
        given = "a.onnx", [np.array([expected])], [np.array([got])], 0.1
        parity._differences(*given)
        return parity._agreement(*given)

    with pytest.raises(ExportError, match="1 images with a clear class"):
        compare([1.0, 0.85], [0.91, 0.94])
    assert compare([1.0, 0.95], [0.96, 0.98]) == 0
    with pytest.raises(ExportError, match="differs by nan"):
        compare([1.0, 0.5], [1.0, float("nan")])


@pytest.mark.parametrize("content", [None, b"", b"hello", "half"])
def test_a_missing_or_broken_file_is_an_error_that_names_it(content, exported, tmp_path):
    model, _, whole = exported
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(whole.read_bytes()[:700] if content == "half" else content)
    calls = [lambda: check_parity(model, path, images(2)), lambda: read_input_size(path)]
    if content != b"":  # no bytes at all are a valid protobuf message without metadata
        calls.append(lambda: read_metadata(path))
    for call in calls:
        with pytest.raises(ExportError, match=r"bad\.onnx"):
            call()
