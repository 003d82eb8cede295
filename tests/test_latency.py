"""A budget in milliseconds, with a runtime whose latency is a formula of the file's shapes."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import latency_standin
import numpy as np
import onnxruntime
import pytest
import torch
import zoo
from click.testing import CliRunner
from latency_standin import StandIn, ns_of
from torch import nn

import slimmer
from slimmer.cli import main
from slimmer.costs import Budget
from slimmer.costs.latency import LatencyCost, LatencyForm, Widths
from slimmer.errors import BudgetError, ModelError, RecipeError, RunError, RuntimeUnavailableError
from slimmer.exporting.fp16 import write_fp16
from slimmer.exporting.int8 import write_int8
from slimmer.exporting.onnx import export_onnx, load_file
from slimmer.latency import build as latency_build
from slimmer.latency import means as latency_means
from slimmer.latency.bench import Bench
from slimmer.latency.check_slices import why_not_sliced
from slimmer.latency.common_nodes import Observed
from slimmer.latency.fit import fitted
from slimmer.latency.measure import SHORT_TURNS, Taken, check_tellable, quick_effort
from slimmer.latency.rounds import keep
from slimmer.latency.sliced_file import dense_file
from slimmer.models import build
from slimmer.pipeline.job import examine
from slimmer.pipeline.latency_plan import check_processes
from slimmer.pipeline.recount import subject_of
from slimmer.profiling.clocks import Clocks
from slimmer.profiling.timing import Effort, time_in_turns
from slimmer.pruning.plan import make_plan
from slimmer.pruning.slim_file import Identity
from slimmer.recipe import read_recipe
from slimmer.recipe.budget import BudgetSection
from slimmer.recipe.latency_section import TimingSection

REAL_MEANS = latency_means.means_of
SIZE = (3, 16, 16)
EXPORTED = {}


class Wide(nn.Module):
    """Two residual blocks and a head, wide enough for blocks of eight channels."""

    def __init__(self, width=64):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.one = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.two = nn.Conv2d(2 * width, width, 3, padding=1)
        self.three = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.two(torch.relu(self.one(x))))
        return self.head(torch.relu(self.three(x)).mean((2, 3)))


class Grouped(nn.Module):
    """A depthwise, a grouped and a pointwise convolution, and a concatenation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.depth = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.norm = nn.BatchNorm2d(16)
        self.point = nn.Conv2d(16, 24, 1)
        self.grouped = nn.Conv2d(24, 24, 3, padding=1, groups=4)
        self.head = nn.Linear(48, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.depth(torch.relu(self.stem(x)))))
        y = torch.relu(self.point(x))
        z = torch.cat([y, torch.relu(self.grouped(y))], 1)
        return self.head(z.mean((2, 3)))


class Shuffled(nn.Module):
    """A channel shuffle, whose shape in the ONNX file has the number of channels in it."""

    def __init__(self, width=32):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.one = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.two = nn.Conv2d(2 * width, width, 3, padding=1)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        x = torch.relu(self.two(torch.relu(self.one(x))))
        return self.head(x.mean((2, 3)))


@pytest.fixture(autouse=True)
def exports_once(monkeypatch):
    """The dense file of `Wide` is exported for the first test only: torch.onnx takes seconds."""
    whole = latency_build.dense_file

    def cached(subject, inputs):
        if type(subject.model) is not Wide:
            return whole(subject, inputs)
        key = inputs, subject.graph
        if key not in EXPORTED:
            EXPORTED[key] = whole(subject, inputs)
        return EXPORTED[key]

    monkeypatch.setattr(latency_build, "dense_file", cached)


@pytest.fixture
def standin(monkeypatch, tmp_path):
    return StandIn().install(monkeypatch, tmp_path)


def wide(seed=0):
    torch.manual_seed(seed)
    return Wide().eval()


def pruned(model=None, **settings):
    settings = {"input_size": SIZE, "threads": 1, **settings}
    return slimmer.prune(model or wide(), **settings)


@cache
def dense_ns():
    with TemporaryDirectory() as folder:
        return exported_ns(wide(), Path(folder))


def exported_ns(model, tmp_path, size=SIZE):
    """The stand-in's time of the file that torch.onnx writes."""
    export_onnx(model, tmp_path / "theirs.onnx", size, metadata={})
    return ns_of(tmp_path / "theirs.onnx")


@pytest.mark.parametrize("make", [Grouped, lambda: build("cifar_resnet8")])
def test_sliced_files_have_the_shapes_and_outputs_of_exported_ones(make, tmp_path):
    torch.manual_seed(0)
    model = make()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    model, graph, _, cut, scope = examine(model.eval(), Identity("", 10, SIZE))
    subject = subject_of(model, model, graph, scope, cut)
    widths = [max(1, group.size * 2 // 3) for group in graph.groups]
    dense_file(subject, SIZE).write(widths, tmp_path / "mine.onnx")
    export_onnx(subject.with_widths(widths), tmp_path / "theirs.onnx", SIZE, metadata={})
    shapes, outputs = [], []
    images = np.random.default_rng(0).standard_normal((2, *SIZE), dtype=np.float32)
    for name in ("mine.onnx", "theirs.onnx"):
        file = load_file(tmp_path / name, weights=True)
        floats = [each for each in file.graph.initializer if each.data_type == 1]
        shapes.append({each.name: tuple(each.dims) for each in floats})
        session = onnxruntime.InferenceSession(tmp_path / name)
        outputs.append(session.run(None, {"input": images})[0])
    assert shapes[0] == shapes[1]
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_network_whose_file_cant_be_sliced_is_exported_at_every_width(standin, tmp_path):
    torch.manual_seed(0)
    events = []
    model = Shuffled().eval()
    result = pruned(model, latency=0.6, observe=events.append)
    [note] = [each["text"] for each in events if each["event"] == "note"]
    assert "can't be sliced" in note
    assert re.search(r"about \d+ s for 15$", note)
    ratio = exported_ns(result.model, tmp_path) / exported_ns(model, tmp_path)
    assert 0.5 <= ratio <= 0.6
    assert result.report["latency"]["ratio"] == pytest.approx(ratio, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "sliced"),
    [("Shuffle", False), ("ShuffleModule", False), ("Slopes", False), ("Projection", True)],
)
def test_a_sliced_file_is_used_only_if_it_computes_what_the_network_does(name, sliced):
    """Channel shuffles have shapes with numbers in them; PReLU's slopes are renamed."""
    model = zoo.make(name).eval()
    size = zoo.size_of(name)
    model, graph, _, cut, scope = examine(model, Identity("", 10, size))
    subject = subject_of(model, model, graph, scope, cut)
    section = TimingSection()
    bench = Bench(dense_file(subject, size), size, section, latency_means.means_of(section))
    widths = [max(1, group.size * 2 // 3) for group in graph.groups]
    assert (why_not_sliced(bench, subject, widths) is None) == sliced


@pytest.mark.parametrize("share", [0.7, 0.5, 0.3])
def test_the_measured_latency_is_inside_the_budget_and_near_it(standin, tmp_path, share):
    result = pruned(latency=share)
    ratio = exported_ns(result.model, tmp_path) / dense_ns()
    assert 0.97 * share - 0.01 <= ratio <= share
    assert result.report["latency"]["ratio"] == pytest.approx(ratio, rel=1e-6)
    assert result.report["latency_measured"]["measured"]


def test_an_absolute_budget_is_in_the_units_of_time(standin, tmp_path):
    dense = dense_ns()
    result = pruned(latency=f"{dense * 0.6 / 1e6:.6f} ms")
    assert exported_ns(result.model, tmp_path) <= 0.6 * dense
    assert result.report["latency"]["dense"] == pytest.approx(dense, rel=1e-6)
    assert result.report["latency"]["limit"] == pytest.approx(0.6 * dense, rel=1e-4)


def test_joint_budgets_are_all_met(standin, tmp_path):
    result = pruned(latency=0.6, flops=0.5, params=0.55)
    for name, limit in (("flops", 0.5), ("params", 0.55)):
        assert result.report[name]["ratio"] <= limit
    ratio = exported_ns(result.model, tmp_path) / dense_ns()
    assert ratio <= 0.6


def test_widths_are_multiples_of_what_kernels_take(standin):
    assert all(width % 8 == 0 for width in pruned(latency=0.5).plan.widths)


@pytest.mark.parametrize("share", [0.7, 0.5, 0.35])
def test_a_layer_that_is_free_up_to_a_step_is_widened_to_it(monkeypatch, tmp_path, share):
    """The formula works on blocks of 32 channels, and widths are multiples of 8. The fit assumes
    another kernel for less than a block, as ONNX Runtime has.
    """
    StandIn(block=32).install(monkeypatch, tmp_path)
    result = pruned(latency=share)
    model, graph, _, cut, scope = examine(wide(), Identity("", 10, SIZE))
    widths = list(result.plan.widths)
    dense = latency_build.dense_file(subject_of(model, model, graph, scope, cut), SIZE)

    def ns(of):
        dense.write(of, tmp_path / "net.onnx")
        return ns_of(tmp_path / "net.onnx", 32)

    assert ns(widths) <= share * ns(graph.widths)
    for group, size in enumerate(graph.widths):
        if 32 <= widths[group] < size:
            wider = [*widths[:group], widths[group] + 8, *widths[group + 1 :]]
            assert ns(wider) > ns(widths), (widths, group)


def random_plans(draw, graph, number=60):
    """Plans of random widths, multiples of 8."""
    plans = []
    for _ in range(number):
        widths = [int(draw.integers(1, size // 8 + 1)) * 8 for size in graph.widths]
        named = zip(graph.groups, widths, strict=True)
        plans.append(make_plan(graph, {group.name: range(width) for group, width in named}))
    return plans


def search_among(plans, cost):
    """A search that knows some plans, and returns the slowest one inside a budget."""

    def search(budget):
        inside = [plan for plan in plans if cost.exact(plan.widths) <= budget.limit]
        if not inside:
            raise BudgetError("budget", "none", "none")
        return max(inside, key=lambda plan: cost.exact(plan.widths))

    return search


def cost_at(share):
    """The latency of the wide network as a cost, and its graph."""
    model, graph, _, cut, scope = examine(wide(), Identity("", 10, SIZE))
    section = BudgetSection(latency=share, timing=TimingSection(threads=1))
    subject = replace(subject_of(model, model, graph, scope, cut), budget=section)
    return latency_build.build(subject), graph


@pytest.mark.parametrize("seed", [0, 4, 10])
def test_of_equally_fast_plans_the_one_with_the_highest_score_is_taken(monkeypatch, standin, seed):
    """Plans and scores are random, and a search knows only some plans, so rounds miss the limit."""
    draw = np.random.default_rng(seed)
    cost, graph = cost_at(0.6)
    plans = random_plans(draw, graph)
    scores = {tuple(plan.widths): float(draw.uniform()) for plan in plans}
    measured = {}
    whole = Bench.measure

    def measure(bench, widths, enough):
        dense, slim = whole(bench, widths, enough)
        ratio = slim.ratio * draw.uniform(0.9, 1.1)
        measured[tuple(widths)] = ratio
        return dense, replace(slim, ratio=ratio, low=ratio, high=ratio)

    search = search_among(plans, cost)
    monkeypatch.setattr(Bench, "measure", measure)
    budget = Budget(cost, 0.6 * cost.dense)
    kept = keep(budget, [search], lambda plan: scores[tuple(plan.widths)], lambda _: None)
    inside = {widths: ratio for widths, ratio in measured.items() if ratio <= 0.6}
    nearest = max(inside.values())
    least = max(0.97 * nearest, min(nearest, 0.95 * 0.6))
    near = [widths for widths, ratio in inside.items() if ratio >= least]
    assert scores[tuple(kept.plan.widths)] == max(scores[widths] for widths in near)
    first = next(iter(measured))
    alike = [search(Budget(cost, aim * 0.985 * 0.6 * cost.dense)) for aim in (1, 0.995, 0.99)]
    assert scores[first] == max(scores[tuple(plan.widths)] for plan in alike)


def test_the_plans_of_two_searches_compete_by_their_score(standin):
    """Each search knows one plan that is near the limit, and others that are far below it."""
    cost, graph = cost_at(0.6)
    plans = random_plans(np.random.default_rng(1), graph)
    near = [plan for plan in plans if 0.57 <= cost.exact(plan.widths) / cost.dense <= 0.59]
    assert len(near) >= 2
    budget = Budget(cost, 0.6 * cost.dense)
    for better in near[:2]:
        searches = [search_among([plan], cost) for plan in near[:2]]
        kept = keep(budget, searches, lambda plan: float(plan is better), lambda _: None)  # noqa: B023
        assert kept.plan is better


def test_wrong_node_times_are_corrected_by_measuring_plans(monkeypatch, tmp_path):
    StandIn(lie=0.3).install(monkeypatch, tmp_path)
    events = []
    result = pruned(latency=0.4, observe=events.append)
    rounds = [each for each in events if each["event"] == "latency_round"]
    ratio = exported_ns(result.model, tmp_path) / dense_ns()
    assert 0.38 <= ratio <= 0.4
    assert [each["measured"] for each in rounds] == result.report["latency_measured"]["rounds"]


def test_a_budget_below_the_narrowest_network_is_refused_with_what_was_measured(standin, tmp_path):
    with pytest.raises(BudgetError) as caught:
        pruned(latency=0.01, out=tmp_path / "run")
    text = str(caught.value)
    assert "ms" in text
    assert "narrowest" in text
    assert "a formula" in text
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())
    [reachable] = re.findall(r"give (\d+)% or more", text)
    pruned(latency=f"{reachable}%")


def test_a_noisy_machine_is_refused_with_what_was_measured(monkeypatch, tmp_path):
    draw = np.random.default_rng(0)
    made = StandIn().install(monkeypatch, tmp_path)
    pruned(latency=0.5, threads=2)  # fills the cache
    made.noise = lambda: draw.uniform(0.5, 2.0)
    short = Effort(seconds=0.0, runs=2, blocks=6, precision=0.01)
    for name in ("careful_effort", "patient_effort"):
        monkeypatch.setattr(f"slimmer.latency.bench.{name}", lambda _ms: short)
    with pytest.raises(RuntimeUnavailableError) as caught:
        pruned(latency=0.5, threads=2, out=tmp_path / "run")
    text = str(caught.value)
    assert "load 0.5" in text
    assert not (tmp_path / "run").exists()  # refused before anything is written
    assert "--threads 1" in text


def test_noise_that_hides_the_narrowest_network_only_is_no_reason_to_refuse(monkeypatch, tmp_path):
    """Delays of up to 70 us: two thirds of the narrowest network's time, a ninth of the budget."""
    draw = np.random.default_rng(0)
    made = StandIn().install(monkeypatch, tmp_path)
    pruned(latency=0.5, threads=2)  # fills the cache
    short = Effort(seconds=0.0, runs=2, blocks=12, precision=0.01)
    for name in ("careful_effort", "patient_effort"):
        monkeypatch.setattr(f"slimmer.latency.bench.{name}", lambda _ms: short)
    bench = cost_at(0.5)[0].bench
    made.delay_ns = lambda: draw.uniform(0, 70_000)
    assert bench.measure([8, 8, 8])[1].reach > 0.03
    result = pruned(latency=0.5, threads=2)
    assert 0.45 <= result.report["latency_measured"]["ratio"] <= 0.5


def test_a_network_that_is_surely_too_slow_is_measured_for_a_shorter_time(standin):
    draw = np.random.default_rng(0)
    bench = cost_at(0.5)[0].bench
    standin.noise = lambda: draw.uniform(0.9, 1.1)
    spent = {}
    for limit in (0.1, 10.0):
        began = standin.now
        found = bench.measure([56, 120, 120], lambda taken, limit=limit: taken.low > limit)[1]
        spent[limit] = standin.now - began
    assert found.low > 0.1
    assert spent[0.1] < 0.5 * spent[10.0]


def test_one_thread_is_advised_only_where_cpu_time_counts():
    noisy = Taken(1.0, 0.5, 0.4, 0.6)
    for provider, advised in (("cpu", True), ("openvino", False), ("cuda", False)):
        section = TimingSection(provider=provider)
        with pytest.raises(RuntimeUnavailableError) as caught:
            check_tellable(noisy, StandIn().means(section), section)
        assert ("--threads 1" in str(caught.value)) == advised


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_timed_files_of_a_precision_are_like_the_exported_ones(precision, tmp_path):
    model, graph, _, cut, scope = examine(wide(), Identity("", 10, SIZE))
    subject = subject_of(model, model, graph, scope, cut)
    section = TimingSection(precision=precision)
    dense = latency_build.dense_file(subject, SIZE)
    widths = [24, 48, 72]
    Bench(dense, SIZE, section, latency_means.means_of(section)).write(widths, tmp_path / "mine")
    export_onnx(subject.with_widths(widths), tmp_path / "single", SIZE, metadata={})
    if precision == "fp16":
        write_fp16(tmp_path / "single", tmp_path / "theirs", half_io=False, metadata={})
    else:
        images = np.ones((2, *SIZE), dtype=np.float32)
        write_int8(tmp_path / "single", tmp_path / "theirs", [images], metadata={})
    kinds = []
    for name in ("mine", "theirs"):
        file = load_file(tmp_path / name, weights=True).graph
        shapes = [(each.data_type, tuple(each.dims)) for each in file.initializer]
        kinds.append((Counter(node.op_type for node in file.node), Counter(shapes)))
    assert kinds[0] == kinds[1]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_budget_in_a_precision_is_kept_in_onnx_runtime(precision, monkeypatch, tmp_path):
    """CPU time of plain sessions of the exported files, which a busy machine hardly changes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.manual_seed(0)
    model = build(ARCH).eval()
    result = slimmer.prune(model, latency=0.75, threads=1, precision=precision, input_size=C10)
    assert result.report["latency_measured"]["setting"]["precision"] == precision
    sessions = []
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for name, network in (("dense", model), ("slim", result.model)):
        export_onnx(network, tmp_path / name, C10, metadata={})
        path = tmp_path / f"{name}.onnx"
        if precision == "fp16":
            write_fp16(tmp_path / name, path, half_io=False, metadata={})
        else:
            images = np.ones((2, *C10), dtype=np.float32)
            write_int8(tmp_path / name, path, [images], metadata={})
        sessions.append(onnxruntime.InferenceSession(path, options))
    images = np.zeros((1, *C10), dtype=np.float32)
    times = np.empty((1000, 2))
    for row, column in product(range(1000), range(2)):
        began = time.thread_time_ns()
        sessions[column].run(None, {"input": images})
        times[row, column] = time.thread_time_ns() - began
    dense, slim = np.percentile(times[100:], 5, axis=0)
    assert 0.6 < slim / dense < 0.78


def test_a_gpu_that_reports_no_node_times_is_handled_by_the_same_code(monkeypatch, tmp_path):
    """The nodes and their estimated times are real; the latency is that of the stand-in."""
    made = StandIn().install(monkeypatch, tmp_path)
    whole = latency_means.means_of

    def means(setting):
        real = REAL_MEANS(setting)
        return replace(whole(setting), nodes=real.nodes)

    monkeypatch.setattr(latency_means, "means_of", means)
    monkeypatch.setattr(latency_build, "check_provider", lambda name: name)
    result = pruned(latency=0.5, latency_on="cuda", batch=4)
    ratio = exported_ns(result.model, tmp_path) / dense_ns()
    assert 0.47 <= ratio <= 0.5
    assert result.report["latency_measured"]["setting"]["provider"] == "cuda"
    assert made.opened


@pytest.mark.parametrize(
    ("op", "inputs", "output", "macs"),
    [
        ("Conv", ((1, 8, 6, 6), (16, 8, 3, 3)), (1, 16, 4, 4), 8 * 16 * 9 * 16),
        ("Gemm", ((1, 8), (10,)), (1, 10), 80),
        ("Relu", ((1, 8, 6, 6),), (1, 8, 6, 6), 0),
    ],
)
def test_an_estimated_time_counts_multiply_adds_and_memory(op, inputs, output, macs):
    node = latency_means.estimated(latency_means.Node("n", op, inputs, (output,), 1.0))
    floats = sum(int(np.prod(shape)) for shape in (*inputs, output))
    assert node.us == pytest.approx(4.0 + macs / 1e7 + floats / 2.5e5)


def test_the_second_run_takes_the_measurements_from_the_cache(standin, tmp_path):
    first = pruned(latency=0.5)
    opened = len(standin.opened)
    assert standin.opened.count("network-1.onnx") == 1  # the narrowest is measured once
    second = pruned(latency=0.5)
    assert len(standin.opened) - opened <= 6
    assert first.plan == second.plan
    [table] = (tmp_path / "cache" / "slimmer").rglob("*.json")
    table.write_text(table.read_text()[:1000])
    events = []
    third = pruned(latency=0.5, observe=events.append)
    assert third.plan == first.plan
    notes = [each["text"] for each in events if each["event"] == "note"]
    assert any("measured again" in note for note in notes)


@pytest.mark.parametrize(
    ("ms", "runs"),
    # First run, three windows of warm-up, four blocks of two runs; of a short network a window is
    # 6 ms (three runs) and there are five, and a turn of a block starts with an unrecorded run.
    [(50, 1 + 3 + 4 * 2), (2, 1 + 5 * 3 + 6 * (3 * 1 + 15))],
)
def test_long_runs_are_measured_fewer_times_and_without_unrecorded_ones(ms, runs):
    state = {"now": 0, "runs": 0}

    def run():
        state["now"] += ms * 1_000_000
        state["runs"] += 1

    time_in_turns(
        *(["dense"], [run], quick_effort(ms)),
        clocks=Clocks(lambda: state["now"], None),
        tell=lambda _step, _steps=1: None,
        precise=lambda _: True,
        turns=SHORT_TURNS,
    )
    assert state["runs"] == runs


def test_another_setting_or_network_is_measured_anew(standin):
    pruned(latency=0.5)
    opened = len(standin.opened)
    pruned(latency=0.5, batch=4)
    assert len(standin.opened) - opened > 15


def test_a_provider_that_is_not_active_is_refused():
    with pytest.raises(RuntimeUnavailableError, match="provider tensorrt"):
        pruned(latency="8ms", latency_on="tensorrt")
    with pytest.raises(RecipeError, match="provider"):
        pruned(latency="8ms", latency_on="abacus")


def test_a_network_that_takes_a_call_is_refused(standin):
    class Called(Wide):
        example_inputs = (torch.zeros(1, 3, 16, 16), 2)

        def forward(self, x, times):
            return super().forward(x * times)

    with pytest.raises(ModelError, match="images"):
        slimmer.prune(Called().eval(), latency=0.5)


@pytest.mark.parametrize("amount", ["8 bananas", "0ms", -1, "120%"])
def test_amounts_that_are_no_time_are_refused(amount):
    with pytest.raises(RecipeError, match=r"budget\.latency"):
        pruned(latency=amount)


def test_the_gradient_of_a_fitted_latency_is_its_marginal():
    draw = np.random.default_rng(0)
    axes = [Widths(draw.uniform(0, 2, (4, 3)), draw.uniform(0, 9, 4)) for _ in range(3)]
    form = LatencyForm(*axes, draw.uniform(0, 1, (4, 4)), draw.uniform(0, 1, (4, 4)), 5.0, 1)
    cost = LatencyCost("latency", 10**6, form)
    widths = torch.tensor([7.0, 20.0, 33.0], dtype=torch.float64, requires_grad=True)
    cost.value(widths).backward()
    assert torch.equal(widths.grad, cost.marginal(widths.detach()))
    # With blocks of one channel, the marginal is the difference quotient of the formula.
    for group in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[group] = 1e-3
        smooth = _by_hand(form, (widths.detach() + step).numpy())
        smooth -= _by_hand(form, (widths.detach() - step).numpy())
        assert cost.marginal(widths.detach())[group] == pytest.approx(smooth / 2e-3, rel=1e-5)


def _by_hand(form, widths):
    makes, reads, enters = (
        axes.members @ widths + axes.rest for axes in (form.makes, form.reads, form.enters)
    )
    a, b, c, d = form.weights.T
    return float((a + b * reads * makes + c * enters + d * makes).sum() + form.constant)


def test_a_table_from_another_machine_is_taken(standin, exported, monkeypatch, tmp_path):
    table = measured(exported, tmp_path)
    monkeypatch.setitem(latency_standin.MACHINE, "cpu", "a workstation")
    result = small(exported, latency_table=table)
    found = result.report["latency_measured"]
    assert not found["measured"]
    assert found["machine"]["cpu"] == "a formula"
    dense = exported_ns(build(ARCH).eval(), tmp_path, C10)
    ratio = exported_ns(result.model, tmp_path, C10) / dense
    assert 0.6 <= ratio <= 0.7


def test_a_table_of_another_network_or_setting_is_refused(standin, exported, tmp_path):
    table = measured(exported, tmp_path)
    with pytest.raises(RunError, match=r"is of images of \[3, 32, 32\]"):
        pruned(latency=0.5, latency_table=table)
    with pytest.raises(RunError, match="batch 1, and the budget is for 4"):
        small(exported, latency_table=table, batch=4)
    with pytest.raises(RunError, match="threads 1, and the budget is for one per core"):
        small(exported, latency_table=table, threads=None)
    table.write_text("{}")
    with pytest.raises(RunError, match="latency measure"):
        small(exported, latency_table=table)
    with pytest.raises(RunError, match="can't be read"):
        pruned(latency=0.5, latency_table=tmp_path / "none.json")


ARCH, C10 = "cifar_resnet8", (3, 32, 32)


def small(exported, **settings):
    checkpoint = exported / "weights.pth"
    return pruned(checkpoint, arch=ARCH, input_size=C10, latency=0.7, **settings)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder with a checkpoint, and with `networks` that `slimmer latency export` wrote."""
    folder = tmp_path_factory.mktemp("exported")
    torch.save(build(ARCH).state_dict(), folder / "weights.pth")
    networks = str(folder / "networks")
    run(["latency", "export", str(folder / "weights.pth"), networks, "--arch", ARCH])
    return folder


def measured(exported, tmp_path):
    """The table of `slimmer latency measure`."""
    table = tmp_path / "table.json"
    run(["latency", "measure", str(exported / "networks"), "--threads", "1", "--out", str(table)])
    return table


def run(args):
    found = CliRunner().invoke(main, args)
    assert found.exit_code == 0, found.output
    return found.output


def test_measuring_needs_no_pytorch(exported, tmp_path):
    shutil.copytree(exported / "networks", tmp_path / "networks")
    folder, out = str(tmp_path / "networks"), str(tmp_path / "real.json")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from slimmer.cli import main\n"
        f"main(['latency', 'measure', {folder!r}, '--threads', '1', '--out', {out!r}])"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=250)
    table = json.loads(Path(out).read_text())
    assert len(table["networks"]) == 15
    assert table["networks"][0]["ratio"] == pytest.approx(1.0)
    damaged = tmp_path / "networks" / "network-03.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-5])
    found = CliRunner().invoke(main, ["latency", "measure", folder])
    assert found.exit_code == 2
    assert "network-03.onnx" in found.output


def test_a_folder_with_files_is_not_overwritten(exported):
    args = ["latency", "export", str(exported / "weights.pth"), str(exported), "--arch", ARCH]
    found = CliRunner().invoke(main, args)
    assert found.exit_code == 2
    assert "not empty" in found.output


def test_speedup_is_the_latency_as_a_factor(standin, exported, tmp_path):
    out = tmp_path / "run"
    args = ["prune", str(exported / "weights.pth"), "--arch", ARCH, "--threads", "1"]
    run([*args, "--speedup", "1.25", "--latency-on", "cpu", "--out", str(out)])
    report = json.loads((out / "report.json").read_text())
    assert report["latency"]["limit_ratio"] == pytest.approx(0.8)
    assert 0.7 <= report["latency"]["ratio"] <= 0.8
    assert report["latency_measured"]["setting"]["threads"] == 1
    text = (out / "report.md").read_text()
    assert "95 % interval" in text
    assert "1 thread, batch 1, fp32" in text
    twice = CliRunner().invoke(main, [*args, "--speedup", "2", "--latency", "0.5"])
    assert twice.exit_code == 2
    assert "given twice" in twice.output


def test_inspect_shows_the_time_of_layers_and_the_least_latency(standin, exported):
    args = ["inspect", str(exported / "weights.pth"), "--arch", ARCH, "--latency", "--json"]
    found = json.loads(CliRunner().invoke(main, [*args, "--threads", "1"]).stdout)
    dense = found["latency"]["dense"]
    assert found["latency"]["least"] < dense
    rows = found["latency_nodes"]
    times = [row["ns"] for row in rows]
    assert times == sorted(times, reverse=True)
    assert sum(times) <= dense
    assert sum(times) >= 0.8 * dense
    assert all(row["least_ns"] <= row["ns"] + 1 for row in rows)
    assert {row["layer"] for row in rows} >= {"conv1", "layer1.0.conv1", "linear"}


def test_the_script_of_the_benchmark_times_two_files_and_a_gpu_that_is_not_there(tmp_path):
    for name, width in (("dense", 32), ("slim", 16)):
        export_onnx(Wide(width).eval(), tmp_path / f"{name}.onnx", SIZE, metadata={})
    script = Path(__file__).parents[1] / "benchmarks" / "timed_apart.py"
    files = [str(tmp_path / "dense.onnx"), str(tmp_path / "slim.onnx")]
    command = [sys.executable, str(script), *files, "--threads=1", "--batch=1"]
    short = ["--turns=5", "--seconds=0"]
    found = subprocess.run([*command, *short], check=True, capture_output=True, timeout=200)
    assert set(json.loads(found.stdout)) == {"cpu", "wall"}
    gone = subprocess.run(
        [*command, "--provider=cuda"], check=False, capture_output=True, timeout=200
    )
    assert gone.returncode == 1
    assert b"cuda is not active" in gone.stderr


def test_a_resumed_run_reports_what_was_measured_before(standin, exported, tmp_path):
    from slimmer.pipeline.stages import resume
    from slimmer.runs.open_run import open_run

    def stop(event):
        if event["event"] == "removed":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small(exported, out=tmp_path / "run", observe=stop)
    rounds = len(standin.opened)
    report = resume(open_run(tmp_path / "run", finished=False))
    assert len(standin.opened) == rounds  # the plan is not measured again
    measured = report["latency_measured"]
    assert report["latency"]["ratio"] == pytest.approx(measured["ratio"], rel=1e-6)
    assert report["latency"]["ratio"] <= 0.7


def test_several_processes_are_refused():
    recipe = read_recipe(None, [("budget.latency", 0.5)])
    check_processes(recipe, 1)
    with pytest.raises(RecipeError, match="2 processes"):
        check_processes(recipe, 2)
    check_processes(read_recipe(None, [("budget.flops", 0.5)]), 2)


def formula_ns(widths):
    """Two convolutions between three groups, in blocks of 16, and a slow kernel below a block."""
    one, two, three = widths
    first = 500 + 4 * latency_standin.full(one, 16) * latency_standin.full(two, 16)
    second = 500 + 2 * latency_standin.full(two, 16) * latency_standin.full(three, 16)
    if one < 16:
        first = 3000 + 90 * latency_standin.full(two, 16)
    return first, second


def observed_at(widths):
    one, two, three = widths
    given, between, made = ((1, channels, 8, 8) for channels in widths)
    first, second = (ns / 1000 for ns in formula_ns(widths))
    nodes = (
        latency_means.Node("first", "Conv", (given, (two, one, 3, 3)), (between,), first),
        latency_means.Node("second", "Conv", (between, (three, two, 1, 1)), (made,), second),
    )
    return Observed(tuple(widths), 1100 * (first + second) + 700, nodes)


def test_the_fit_predicts_networks_that_were_not_measured():
    draw = np.random.default_rng(0)
    seen = [[64, 64, 64], [8, 16, 16]]
    for _ in range(13):
        seen.append([draw.choice([8, 16, 32, 48, 64]), *draw.choice([16, 32, 48, 64], 2)])
    fit = fitted([observed_at(map_int(each)) for each in seen], np.eye(3), np.zeros(3))
    assert fit.form.step == 16
    for widths in ([48, 16, 64], [8, 64, 32], [16, 48, 16], [32, 32, 48]):
        expected = 1.1 * sum(formula_ns(widths)) + 700
        assert fit.form.value(np.array(widths, dtype=float)) == pytest.approx(expected, rel=0.02)
    # A block that is not full takes as long as a full one, so the search widens it.
    narrow, full = np.array([64.0, 33.0, 64.0]), np.array([64.0, 48.0, 64.0])
    assert fit.form.value(narrow) == fit.form.value(full)


def map_int(widths):
    return [int(width) for width in widths]
