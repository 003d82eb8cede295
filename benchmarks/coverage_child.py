"""One network through slimmer, or through Torch-Pruning, in a process of its own, stage by stage.

    python -P benchmarks/coverage_child.py slimmer timm/resnet10t events.jsonl
    python -P benchmarks/coverage_child.py peer timm/resnet10t events.jsonl --share 0.5

`coverage.py` starts it. Every stage that ends is one line of the events: its name, seconds, the
process's peak memory in MB while it ran, what was found, and the error where it failed; so a
process that is stopped says how far it came.
"""

import importlib.util
import json
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from slimmer.costs import Budget, flops_cost, params_cost
from slimmer.costs.flops import count_by_module, count_conv_linear, count_flops
from slimmer.criteria import random_scores
from slimmer.exporting.error_text import one_line
from slimmer.exporting.onnx import export_onnx
from slimmer.exporting.parity import check_parity
from slimmer.graph import ChannelGraph, Inputs, build_graph, is_image, tensors_in, trace
from slimmer.pruning.allocate import allocate, reachable
from slimmer.pruning.apply import Cut, prune
from slimmer.pruning.masks import Masked, hard_mask
from slimmer.pruning.plan import Plan
from slimmer.pruning.rewrite import read_program
from slimmer.pruning.self_check import enliven_, example
from slimmer.pruning.traced_parts import Scope, probe_scope, scope_of

SIDES = (64, 96, 128, 224, 256)  # the first at which the network runs in eval and in train mode
WINDOWED = (
    "swin",
)  # names of networks that pad what is smaller than a window, in some layers most of it
SHARE = 0.5  # of the FLOPs, that may remain
EXACT = 1e-10  # largest difference over the output's largest magnitude, float64
PEER_STEPS = 50


class StoppedError(Exception):
    """A stage failed that the later ones need."""


@click.command(help=__doc__)
@click.argument("who", type=click.Choice(["slimmer", "peer"]))
@click.argument("net")
@click.argument("events", type=Path)
@click.option(
    "--stages", type=click.Choice(["all", "graph"]), default="all", help="graph: no export to ONNX."
)
@click.option("--rewrite", is_flag=True, help="Prune the network's own program (slimmer).")
@click.option("--share", default=SHARE, help="What may remain of the FLOPs (peer).")
@click.option(
    "--memory-gb",
    default=16.0,
    help="The process may hold so much data; more is an error of the stage.",
)
def main(
    who: str, net: str, events: Path, stages: str, rewrite: bool, share: float, memory_gb: float
) -> None:
    limit = int(memory_gb * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    torch.set_num_threads(1)
    try:
        with stage(events, "build", needed=True) as found:
            model, size, parts = build(net, found)
        if who == "slimmer":
            through_slimmer(model, size, parts, events, onnx=stages == "all", rewrite=rewrite)
        else:
            through_peer(model, size, events, share)
    except StoppedError:
        pass


@contextmanager
def stage(events: Path, name: str, *, needed: bool = False) -> Iterator[dict[str, Any]]:
    """What the stage finds; written to `events` with its time, memory and error. StoppedError where
    it was `needed`.
    """
    found: dict[str, Any] = {}
    Path("/proc/self/clear_refs").write_text(
        "5", encoding="ascii"
    )  # starts the peak of the resident memory anew
    began = time.perf_counter()
    try:
        yield found
    except Exception as error:  # noqa: BLE001 - whatever a library or the network's own code raises is the result
        found["error"] = one_line(error)
    row = {"stage": name, "s": round(time.perf_counter() - began, 3), "mb": _peak_mb(), **found}
    with events.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row) + "\n")
    if needed and "error" in found:
        raise StoppedError


def _peak_mb() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024


def build(net: str, found: dict[str, Any]) -> tuple[nn.Module, tuple[int, ...], Sequence[str]]:
    """The network with random weights that make it speak, the image that it takes, and the parts to
    trace alone.
    """
    import_torchvision()
    torch.manual_seed(0)
    model, sizes, parts, module = _named(net)
    found.update(
        family=module.rpartition(".")[2], params=sum(p.numel() for p in model.parameters())
    )
    enliven_(model)
    size = sizes[0] if len(sizes) == 1 else smallest_size(model, sizes)
    found["side"] = size[-1]
    if not parts:  # what can't be traced is a detector, which trains with targets
        settle_(model, size)
    with torch.no_grad():
        first, second = (tensors_in(model.eval()(torch.randn(1, *size))) for _ in range(2))
    found["spread"] = max(_spread(*pair) for pair in zip(first, second, strict=False))
    if not parts and not found["spread"] > 1e-6:
        raise ValueError(
            f"two images get the same answer (spread {found['spread']:.2g}): nothing could be "
            "compared"
        )
    return model, size, parts


def _spread(first: Tensor, second: Tensor) -> float:
    """How far two answers are apart, as a share of the first's size; of other shapes, all of it."""
    if first.shape != second.shape:
        return 1.0
    return (
        float((first - second).abs().max() / first.abs().max().clamp_min(1e-30))
        if first.numel()
        else 0.0
    )


def _named(net: str) -> tuple[nn.Module, list[tuple[int, ...]], Sequence[str], str]:
    """A network by PACKAGE/NAME, the images to try, the parts to trace alone, and its family."""
    package, _, name = net.partition("/")
    if package in ("torchvision", "timm"):
        model, own_side, module = _torchvision(name) if package == "torchvision" else _timm(name)
        smaller = () if name.startswith(WINDOWED) else (side for side in SIDES if side < own_side)
        return model, [(3, side, side) for side in (*smaller, own_side)], (), module
    if package == "peers":
        return networks("peer_networks")[name](), [(3, 32, 32)], (), name
    entry = networks("package_networks")[net]
    return entry.make(), [entry.size], entry.trace, package


def networks(file: str) -> dict[str, Any]:
    """The NETWORKS of a file beside this one; this folder is not searched for modules (see
    coverage.py).
    """
    spec = importlib.util.spec_from_file_location(file, Path(__file__).with_name(f"{file}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    found: dict[str, Any] = module.NETWORKS
    return found


def import_torchvision() -> None:
    """Import torchvision where it is; with operators in Python where its own don't fit the
    installed torch.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        import torchvision  # noqa: F401, PLC0415
    except RuntimeError:  # operator torchvision::nms does not exist
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = _LIBRARIES.setdefault("torchvision", torch.library.Library("torchvision", "DEF"))
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define(f"roi_align({ROIS}) -> Tensor")
        from torchvision import ops  # noqa: PLC0415

        library.impl("nms", partial(_nms, ops.box_iou), "CPU")
        library.impl("roi_align", sys.modules["torchvision.ops.roi_align"]._roi_align, "CPU")  # noqa: SLF001
        for module in [
            module for name, module in sys.modules.items() if name.startswith("torchvision.ops")
        ]:
            if hasattr(module, "_assert_has_ops"):
                module._assert_has_ops = lambda: None  # noqa: SLF001


def _nms(box_iou: Any, boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """The indices of the boxes that no better one overlaps by more than a share, the best first."""
    overlap = box_iou(boxes, boxes) > iou_threshold
    alive = torch.ones(len(scores), dtype=torch.bool)
    kept = []
    for place in scores.argsort(descending=True, stable=True).tolist():
        if alive[place]:
            kept.append(place)
            alive &= ~overlap[place]
    return torch.tensor(kept, dtype=torch.int64)


ROIS = (
    "Tensor input, Tensor rois, float scale, int height, int width, "
    "int sampling_ratio, bool aligned"
)
_LIBRARIES: dict[str, torch.library.Library] = {}  # what is defined lives as long as its library


def _torchvision(name: str) -> tuple[nn.Module, int, str]:
    from torchvision import models  # noqa: PLC0415

    builder = models.get_model_builder(name)
    options: dict[str, Any] = {"weights": None}
    if "segmentation" in builder.__module__:
        options["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False  # drawn by scipy, tens of seconds
    own_side = 299 if name == "inception_v3" else 256 if name.startswith("swin_v2") else 224
    return builder(**options), own_side, builder.__module__


def _timm(name: str) -> tuple[nn.Module, int, str]:
    import timm  # noqa: PLC0415

    model = timm.create_model(name, pretrained=False)
    return (
        model,
        int(model.pretrained_cfg["input_size"][-1]),
        timm.model_entrypoint(name).__module__,
    )


def smallest_size(model: nn.Module, sizes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The first of the sizes of an image with which `model` runs, in eval and in train mode."""
    for size in sizes:
        try:
            with torch.no_grad():
                for training in (False, True):
                    model.train(training)(torch.randn(2, *size))
        except Exception:  # any of many kinds; the network's own size is tried last, and may raise
            if size == sizes[-1]:
                raise
        else:
            return size
    raise AssertionError("the network's own size returns or raises")


@torch.no_grad()
def settle_(model: nn.Module, size: tuple[int, ...]) -> None:
    """Let the batch norms take their statistics from random images, so that no signal dies or
    explodes.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
    model.train()
    for _ in range(2):
        model(torch.randn(4, *size))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def through_slimmer(
    whole: nn.Module,
    image: tuple[int, ...],
    parts: Sequence[str],
    events: Path,
    *,
    onnx: bool,
    rewrite: bool,
) -> None:
    """Groups, self-check, plan, and what must hold of the network that the plan leaves.

    Of a network that is traced in parts, all is held of the parts on their captured inputs; the
    whole slim network has to run too.
    """
    cut: Cut = prune
    with stage(events, "graph", needed=True) as found:
        scope = scope_of(whole, image, parts)
        model, size = scope.of(whole), scope.inputs
        if rewrite:
            program = read_program(model, size)
            model, graph, cut = program.dense(model), program.channels, program.prune
        else:
            graph = read_graph(model, size, found)
        found.update(groups=len(graph.groups), units=graph.units, layers=len(graph.layers))
    with stage(events, "check", needed=True) as found:
        graph = checked(whole if parts else model, graph, scope, cut, found)
    with stage(events, "plan", needed=True) as found:
        plan = half(model, graph, size, found)
    with stage(events, "equal", needed=True) as found:
        compare(model, graph, plan, size, cut, found)
        if parts:
            prune(whole, plan).eval()(*example(whole, image, 1))
    slim = cut(model, plan)
    with stage(events, "costs") as found:
        found["flops"] = count_flops(slim, size)
        found["params"] = sum(parameter.numel() for parameter in slim.parameters())
    with stage(events, "train") as found:
        train(slim, size)
    with stage(events, "attributes") as found:
        found["untrue"] = untrue_attributes(slim)
    if onnx:
        with stage(events, "onnx") as found:
            export(model, slim, size, found)


def read_graph(model: nn.Module, size: Inputs, found: dict[str, Any]) -> ChannelGraph:
    """The channel graph; the time of torch.export apart from the walk's own."""
    seconds = []
    export_program = trace.export_program

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return export_program(*args, **kwargs)
        finally:
            seconds.append(time.perf_counter() - began)

    began = time.perf_counter()
    with patch.object(trace, "export_program", timed):
        graph = build_graph(model, size)
    found["export_s"] = round(sum(seconds), 3)
    found["walk_s"] = round(time.perf_counter() - began - sum(seconds), 3)
    return graph


def checked(
    model: nn.Module, graph: ChannelGraph, scope: Scope, cut: Cut, found: dict[str, Any]
) -> ChannelGraph:
    """The graph without what the self-check fixed."""
    kept = probe_scope(model, graph, scope, cut)
    found["groups"] = len(kept.groups)
    found["fixed_by_check"] = [
        f"{row.layer}: {row.reason}" for row in kept.fixed[len(graph.fixed) :]
    ][:5]
    return kept


def half(model: nn.Module, graph: ChannelGraph, size: Inputs, found: dict[str, Any]) -> Plan:
    """The plan with half the FLOPs, from random scores; where the least is more, one half way down
    to the least.
    """
    cost, params = flops_cost(model, graph, size), params_cost(model, graph)
    least, dense = reachable(cost, graph)
    found.update(dense=dense, least=least, holds=holding(model, graph, size))
    if least == dense:
        raise ValueError("no channel can be removed")
    limit = SHARE * dense if least <= SHARE * dense else (least + dense) / 2
    plan = allocate(random_scores(graph, 0), graph, [Budget(cost, limit)])
    found.update(limit=limit, flops=cost.exact(plan.widths), params=params.exact(plan.widths))
    return plan


def holding(model: nn.Module, graph: ChannelGraph, size: Inputs) -> list[list[Any]]:
    """The reasons that keep most FLOPs whole: [reason, share of the dense FLOPs that the layers it
    fixes compute].
    """
    flops: dict[str, int] = {}
    for (module, _), count in count_by_module(model, size).items():
        flops[module] = flops.get(module, 0) + count
    shares: dict[str, float] = {}
    for row in graph.fixed:
        share = flops.get(row.layer, 0) / sum(flops.values()) * row.channels / row.of
        reason = re.sub(
            r" in [\w.]+ \(", " (", row.reason
        )  # the same line of code in whichever module
        shares[reason] = shares.get(reason, 0.0) + share
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    return [[reason, round(share, 4)] for reason, share in ranked[:5]]


@torch.no_grad()
def compare(
    model: nn.Module, graph: ChannelGraph, plan: Plan, size: Inputs, cut: Cut, found: dict[str, Any]
) -> None:
    """Masked against pruned in float64; `moved` says how far the mask moved the dense network's
    answer.
    """
    double = deepcopy(model).double().eval()
    given = example(double, size)
    dense = tensors_in(double(*given))
    masked = tensors_in(Masked(double, graph, hard_mask(plan, torch.float64)).eval()(*given))
    pruned = tensors_in(cut(double, plan).eval()(*given))
    found["difference"] = _difference(pruned, masked)
    found["moved"] = _difference(masked, dense)
    found["equal"] = bool(found["difference"] <= EXACT)


def _difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest difference over the output's largest magnitude; infinite where shapes differ or a
    NaN is met.
    """
    if [part.shape for part in ours] != [part.shape for part in theirs]:
        return float("inf")
    pairs = [(a.double(), b.double()) for a, b in zip(ours, theirs, strict=True) if a.numel()]
    worst = max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-300)) for a, b in pairs)
    return worst if worst == worst else float("inf")  # noqa: PLR0124 - a NaN is not itself


def train(slim: nn.Module, size: Inputs) -> None:
    """One forward and backward pass in train mode. Raises where it fails or a gradient is no
    number.
    """
    slim.train()
    answers = [answer for answer in tensors_in(slim(*example(slim, size))) if answer.requires_grad]
    torch.stack([answer.square().mean() for answer in answers]).sum().backward()
    for name, parameter in slim.named_parameters():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            raise ValueError(f"the gradient of {name} is not finite")
    slim.zero_grad(set_to_none=True)
    slim.eval()


def untrue_attributes(slim: nn.Module) -> list[str]:
    """The modules' own counts of channels that differ from their tensors'."""
    wrong = []
    for name, module in slim.named_modules():
        said = {key: getattr(module, key) for key in _COUNTS if hasattr(module, key)}
        wrong += [
            f"{name}.{key} {said[key]}, is {count}"
            for key, count in _counts(module)
            if said[key] != count
        ]
    return wrong


_COUNTS = (
    "in_channels",
    "out_channels",
    "in_features",
    "out_features",
    "num_features",
    "num_channels",
    "normalized_shape",
    "num_parameters",
)


def _counts(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """What the tensors of a module of PyTorch's own say about its attributes."""
    if isinstance(module, _ConvNd):
        first, second = module.weight.shape[:2]
        turned = isinstance(module, _ConvTransposeNd)
        yield "out_channels", second * module.groups if turned else first
        yield "in_channels", first if turned else second * module.groups
    elif isinstance(module, nn.Linear):
        yield from zip(("out_features", "in_features"), module.weight.shape, strict=True)
    elif isinstance(module, _BatchNorm) and module.running_mean is not None:
        yield "num_features", len(module.running_mean)
    elif isinstance(module, nn.GroupNorm) and module.affine:
        yield "num_channels", len(module.weight)
    elif isinstance(module, nn.LayerNorm) and module.elementwise_affine:
        yield "normalized_shape", tuple(module.weight.shape)
    elif isinstance(module, nn.PReLU):
        yield "num_parameters", len(module.weight)


def export(model: nn.Module, slim: nn.Module, size: Inputs, found: dict[str, Any]) -> None:
    """Export to ONNX, held against PyTorch in float32; where it fails, `dense` says whether the
    dense network's too.
    """
    if not is_image(size):
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            found["max_rel"] = _parity(slim, size, Path(folder) / "slim.onnx")
        except Exception:
            try:
                found["dense"] = "is exported and equal"
                _parity(model, size, Path(folder) / "dense.onnx")
            except Exception as error:  # noqa: BLE001 - the same exporter, the same many kinds
                found["dense"] = one_line(error)
            raise


def _parity(model: nn.Module, size: tuple[int, ...], path: Path) -> float:
    export_onnx(model, path, size, metadata={})
    return check_parity(model, path, torch.randn(3, *size)).max_rel


def through_peer(model: nn.Module, size: tuple[int, ...], events: Path, share: float) -> None:
    """Torch-Pruning to `share` of the FLOPs, and whether its network runs, trains and is as small
    as asked.
    """
    import torch_pruning as tp  # noqa: PLC0415

    images = torch.randn(2, *size)
    with torch.no_grad():
        shapes = [answer.shape for answer in tensors_in(model(images))]
    classes = {shape[1] for shape in shapes}
    dense, counted = count_flops(model, size), count_conv_linear(model, size)
    layers = [module for module in model.modules() if isinstance(module, (_ConvNd, nn.Linear))]
    with stage(events, "prune", needed=True):
        pruner = tp.pruner.BasePruner(
            model,
            images[:1],
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=1.0 - 1e-6,
            pruning_ratio_dict={},
            ignored_layers=[layer for layer in layers if layer.weight.shape[0] in classes],
            iterative_steps=PEER_STEPS,
        )
        for _ in range(PEER_STEPS):
            if count_conv_linear(model, size) <= share * counted:
                break
            pruner.step()
    with stage(events, "run") as found:
        found["flops"] = count_flops(model, size) / dense
        found["reached"] = count_conv_linear(model, size) <= share * counted
        with torch.no_grad():
            found["same_shapes"] = [
                answer.shape for answer in tensors_in(model.eval()(images))
            ] == shapes
    with stage(events, "train"):
        train(model, size)


if __name__ == "__main__":
    main()
