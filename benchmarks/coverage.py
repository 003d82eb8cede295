"""Which networks prune right: torchvision's classifiers and segmentation nets, timm's convnets, and
on request others.

    python benchmarks/coverage.py --out benchmarks/results/coverage.jsonl python
    benchmarks/coverage.py --out benchmarks/results/coverage.jsonl --table >
    benchmarks/results/coverage.md python benchmarks/coverage.py --only packages --only peers
    --stages graph --out coverage_packages.jsonl

Each network, with random weights and the smallest image that it takes, goes through slimmer in a
fresh process and through Torch-Pruning to the same FLOPs in another (`coverage_child.py`); what
does not reach half its FLOPs goes through slimmer once more, with `--rewrite`. One JSON line a
network; those that have theirs are passed over. timm's are chosen so: of every module with
convolutional nets, the smallest of each kind (the letters that a name begins with), then the second
smallest, six to fourteen by the module's size, below 60 million parameters where it has such, and a
few well-known ones; of nets that also mix positions otherwise (attention, state spaces), two a
module. Pure transformers, ports (tf_), test nets and mere variants of training are left out.

`--only packages` takes the networks of `package_networks.py`, as far as their packages are
installed, and `--only peers` those of `peer_networks.py`; whole detectors among them are pruned in
the parts that can be traced.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from slimmer.atomic_files import write_text
from slimmer.profiling.runtimes.environment import environment

CHILD = Path(__file__).with_name("coverage_child.py")
STAGES = ("build", "graph", "check", "plan", "equal", "costs", "train", "attributes", "onnx")
PEER_STAGES = ("build", "prune", "run")
LISTS = ("torchvision", "timm", "packages", "peers")
PACKAGES = {  # under what name each is imported
    "ultralytics": "ultralytics",
    "smp": "segmentation_models_pytorch",
    "monai": "monai",
    "transformers": "transformers",
    "pytorchcv": "pytorchcv",
    "facenet": "facenet_pytorch",
    "efficientnet_pytorch": "efficientnet_pytorch",
    "detection": "torchvision",
}
COUNTED = ("flops", "params")
RIGHT = ("half", "rewritten", "part")
Row = dict[str, Any]

CONVNETS = """
mobileone_s1 gernet_s repvgg_a0 regnetz_b16 resnext26ts eca_resnext26ts seresnext26ts gcresnext26ts
bat_resnext26ts regnetz_c16 repvgg_b0 resnet32ts eca_resnet33ts seresnet33ts convmixer_768_32
convmixer_1024_20_ks9_p14 convmixer_1536_20 convnext_zepto_rms convnext_zepto_rms_ols
convnext_atto_rms convnext_atto convnext_atto_ols convnextv2_atto convnext_femto convnext_femto_ols
convnext_pico convnext_pico_ols convnext_nano convnext_nano_ols convnext_tiny convnext_tiny_hnf
convnextv2_nano cs3darknet_focus_s cs3darknet_s darknet17 cspresnext50 darknet21 sedarknet21
cspresnet50 cspdarknet53 darknetaa53 cspnext_tiny cspnext_s cspnext_m cspnext_l cspnext_x
densenet121 densenetblur121d densenet169 densenet201 densenet161 dla46x_c dla46_c dla60x_c dla34
dla60_res2next dla60x dpn48b dpn68 dpn68b dpn92 mobilenetv2_035 mnasnet_small tinynet_e
semnasnet_050 mnasnet_050 tinynet_d tinynet_c tinynet_b mobilenet_edgetpu_100 mixnet_s spnasnet_100
mobilenet_edgetpu_v2_xs efficientnet_lite0 mixnet_m efficientnet_b0 mobilenetv2_100 fasternet_t0
fasternet_t1 fasternet_t2 fasternet_s fasternet_m fastvit_t8 fastvit_s12 focalnet_tiny_srf
focalnet_tiny_lrf focalnet_small_srf focalnet_small_lrf ghostnet_050 ghostnetv3_050 ghostnet_100
ghostnetv2_100 ghostnet_130 ghostnetv3_100 hardcorenas_b hardcorenas_a hardcorenas_c hardcorenas_d
hardcorenas_e hardcorenas_f hgnetv2_b0 hgnetv2_b1 hgnetv2_b2 hgnet_tiny hgnetv2_b3 hgnet_small
hrnet_w18_small hrnet_w18_small_v2 hrnet_w18 hrnet_w30 hrnet_w32 hrnet_w40 inception_next_atto
inception_next_tiny inception_next_small inception_resnet_v2 inception_v3 inception_v4 lcnetv2_small
lcnetv2_base lcnetv2_large mambaout_femto mambaout_kobe mambaout_tiny mambaout_small
mambaout_small_rw poolformerv2_s12 poolformer_s12 poolformerv2_s24 poolformer_s24 convformer_s18
poolformer_m36 convformer_m36 mobilenetv3_small_050 lcnet_035 lcnet_050 mobilenetv4_conv_small_035
mobilenetv3_small_075 mobilenetv4_conv_small_050 lcnet_075 mobilenetv3_small_100 lcnet_100
mobilenetv4_conv_small lcnet_150 fbnetv3_b fbnetv3_d fbnetv3_g mobilenetv3_large_100 nasnetalarge
nf_regnet_b0 nf_regnet_b1 nf_regnet_b2 nf_resnet26 nf_ecaresnet26 nf_seresnet26 eca_nfnet_l0
nf_resnet50 nf_ecaresnet50 nf_seresnet50 nfnet_l0 eca_nfnet_l1 nf_resnet101 nf_ecaresnet101
pnasnet5large rdnet_tiny rdnet_small regnetx_002 regnety_002 regnety_004 regnetx_004 regnety_006
regnetx_006 regnety_008 regnetz_005 regnetx_008 regnetx_016 regnetv_040 regnetz_040 regnetz_040_h
regnetv_064 repghostnet_050 repghostnet_058 repghostnet_080 repghostnet_100 repghostnet_111
repghostnet_130 repvit_m1 repvit_m0_9 repvit_m1_0 repvit_m2 repvit_m1_1 repvit_m3 res2next50
res2net50_14w_8s res2net50_48w_2s res2net50_26w_4s res2net50d res2net50_26w_6s resnest14d resnest26d
resnest50d_1s4x24d resnest50d resnest50d_4s2x40d resnest101e resnet10t resnet14t resnetblur18
seresnet18 ecaresnext26t_32x4d ecaresnet26t seresnext26t_32x4d seresnext26d_32x4d resnetaa34d
seresnet34 resnext50_32x4d seresnetaa50d ecaresnetlight resnetrs50 resnet18 resnet50 resnetv2_18
resnetv2_18d resnetv2_34 resnetv2_34d resnetv2_50 resnetv2_50x1_bit resnetv2_50t resnetv2_50d
resnetv2_50d_gn rexnet_100 rexnetr_100 rexnet_130 rexnetr_130 rexnet_150 rexnetr_150 selecsls42
selecsls60 selecsls42b selecsls60b selecsls84 legacy_seresnet18 legacy_seresnext26_32x4d
legacy_seresnet34 legacy_seresnext50_32x4d legacy_seresnet50 legacy_seresnext101_32x4d skresnet18
skresnet34 skresnet50 skresnet50d skresnext50_32x4d starnet_s050 starnet_s100 starnet_s150
starnet_s1 starnet_s2 starnet_s3 tresnet_m tresnet_v2_l tresnet_l vgg11 ese_vovnet19b_slim_dw
ese_vovnet19b_slim ese_vovnet19b_dw vovnet39a eca_vovnet39b vovnet57a legacy_xception xception41p
xception41 xception65p xception65 xception71
""".split()  # noqa: SIM905 - one name a line would be 300 lines
HYBRIDS = """
caformer_s18 halonet_h1 eca_botnext26ts_256 coat_tiny coat_lite_tiny cpubone_nano cpubone_t0 csatv2
csatv2_21m edgenext_xx_small edgenext_x_small efficientformer_l1 efficientformer_l3
efficientformerv2_s0 efficientformerv2_s1 efficientvim_m1 efficientvim_m2 efficientvit_b0
efficientvit_l1 efficientvit_m0 efficientvit_m1 gcvit_xxtiny gcvit_xtiny iformer_t iformer_s
levit_128s levit_128 lowformer_b0 lowformer_e1 maxvit_pico_rw_256 maxvit_rmlp_pico_rw_256
mobilenetv5_base mobilevit_xxs mobilevitv2_050 nextvit_small nextvit_base pvt_v2_b0 pvt_v2_b1
shvit_s1 shvit_s2 swiftformer_xs swiftformer_s tiny_vit_5m_224 tiny_vit_11m_224 visformer_tiny
visformer_small vit_tiny_r_s16_p8_224 vit_small_r26_s32_224 vitamin_small_224
""".split()  # noqa: SIM905 - one name a line would be 300 lines


@click.command(help=__doc__)
@click.option("--out", type=Path, required=True, help="The JSON lines, read and appended to.")
@click.option("--names", help="torchvision/resnet18,timm/resnet10t,… instead of all.")
@click.option(
    "--only",
    type=click.Choice(LISTS),
    multiple=True,
    help="These lists.  [default: torchvision and timm]",
)
@click.option(
    "--limit-s",
    default=300.0,
    show_default=True,
    help="Seconds a process of slimmer; one or two a net.",
)
@click.option(
    "--peer-limit-s", default=120.0, show_default=True, help="Seconds the process of Torch-Pruning."
)
@click.option("--memory-gb", default=16.0, show_default=True, help="What a process may hold.")
@click.option("--jobs", default=1, show_default=True)
@click.option(
    "--stages",
    type=click.Choice(["all", "graph"]),
    default="all",
    help="graph: no ONNX, no Torch-Pruning.",
)
@click.option("--table", is_flag=True, help="Only print the table of what is there.")
def main(
    out: Path,
    names: str | None,
    only: tuple[str, ...],
    limit_s: float,
    peer_limit_s: float,
    memory_gb: float,
    jobs: int,
    stages: str,
    table: bool,
) -> None:
    rows = read_rows(out)
    done = {row["net"] for row in rows if row["stages_asked"] in ("all", stages)}
    chosen = [] if table else names.split(",") if names else list(all_names(only or LISTS[:2]))
    known = {*all_names(LISTS[2:])} if names else set()
    odd = (
        [net for net in chosen if net.partition("/")[0] not in LISTS[:2] and net not in known]
        if names
        else []
    )
    if odd:
        raise click.UsageError(
            f"--names: {odd[0]!r} is neither torchvision/NAME nor timm/NAME, nor on a list of ours"
        )
    run = partial(
        measure, stages=stages, limit_s=limit_s, peer_limit_s=peer_limit_s, memory_gb=memory_gb
    )
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(run, net) for net in chosen if net not in done]
        try:
            for future in as_completed(futures):
                row = future.result()
                rows = [other for other in rows if other["net"] != row["net"]] + [row]
                write_text(out, "".join(json.dumps(each) + "\n" for each in rows))
                print(
                    row["net"],
                    *verdict(row),
                    "| Torch-Pruning:",
                    *peer_verdict(row),
                    file=sys.stderr,
                    flush=True,
                )
        finally:
            pool.shutdown(cancel_futures=True)
    print("\n".join(markdown(rows)))


def read_rows(path: Path) -> list[Row]:
    """The JSON lines of a file, none where it is not there; a last line that was cut off is left
    out.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def all_names(lists: Sequence[str]) -> Iterator[str]:
    """Every network of the lists: torchvision's own, timm's as chosen above, other packages' and
    peers'.

    Packages that are not installed are passed over.
    """
    from coverage_child import import_torchvision, networks  # noqa: PLC0415 - takes seconds

    if "torchvision" in lists:
        import_torchvision()
        from torchvision import models  # noqa: PLC0415

        found = [
            *models.list_models(module=models),
            *models.list_models(module=models.segmentation),
        ]
        yield from (f"torchvision/{name}" for name in found)
    if "timm" in lists:
        yield from (f"timm/{name}" for name in (*CONVNETS, *HYBRIDS))
    if "packages" in lists:
        yield from (
            net
            for net in networks("package_networks")
            if find_spec(PACKAGES[net.partition("/")[0]])
        )
    if "peers" in lists:
        yield from (f"peers/{name}" for name in networks("peer_networks"))


def measure(net: str, *, stages: str, limit_s: float, peer_limit_s: float, memory_gb: float) -> Row:
    """What happened to one network, with slimmer and then with Torch-Pruning to the same share of
    the FLOPs.
    """
    options = ["--memory-gb", str(memory_gb)]
    ours = _child("slimmer", net, [*options, "--stages", stages], limit_s)
    build, plan = ours["stages"].get("build", {}), ours["stages"].get("plan", {})
    row = {
        "net": net,
        "family": build.get("family", net.rpartition("/")[2]),
        "stages_asked": stages,
        **ours,
    }
    if verdict(row)[0] in ("part", "failed") and "error" not in build and ours["stages"]:
        row["rewritten"] = _child(
            "slimmer", net, [*options, "--stages", stages, "--rewrite"], limit_s
        )
    if stages == "all" and "error" not in build and ours["stages"]:
        share = plan["limit"] / plan["dense"] if "limit" in plan else 0.5
        row["peer"] = _child("peer", net, [*options, "--share", str(share)], peer_limit_s)
    return {**row, "environment": environment()}


def _child(who: str, net: str, options: Sequence[str], limit_s: float) -> Row:
    """The stages that a process got through, and how it ended: done, timeout, or its exit code and
    last words.
    """
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder) / "events.jsonl"
        # -P: this folder must not be searched, where this script would pass for the package called
        # coverage
        command = [sys.executable, "-P", str(CHILD), who, net, str(events), *options]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=limit_s, env=env
            )
            last = (done.stderr.strip().splitlines() or [""])[-1]
            ended = "done" if done.returncode == 0 else f"exit code {done.returncode}: {last}"
        except subprocess.TimeoutExpired:
            ended = "timeout"
        found = {row.pop("stage"): row for row in read_rows(events)}
    return {"ended": ended, "stages": found}


def verdict(row: Row) -> tuple[str, str]:
    """(half | rewritten | part | wrong | failed, why): how right a network was pruned, or what
    --rewrite made of it.

    That is to half the FLOPs, as it is or with --rewrite; as far as can be; wrongly, which is what
    ran through and is not equal, not what was counted, or over the budget; or not at all.
    """
    word, why = _verdict(row)
    if word == "wrong" or "rewritten" not in row:
        return word, why
    again, reason = _verdict({**row, **row["rewritten"]})
    if again == "half":
        return "rewritten", ""
    if again == "wrong" or (again == "part" and word == "failed"):
        return again, f"with --rewrite {reason}"
    return word, f"{why}; with --rewrite {reason}"


def _verdict(row: Row) -> tuple[str, str]:
    """How right a network was pruned once."""
    plan = row["stages"].get("plan", {})
    fault = _fault(row["stages"])
    if fault:
        return "wrong", fault
    if "least" in plan and plan["least"] == plan["dense"]:
        return "failed", f"nothing to prune: {_held(plan)}"
    failure = _failure(row, STAGES[:6])
    if failure:
        return "failed", failure
    if plan["limit"] > 0.5 * plan["dense"]:
        return "part", f"at least {plan['least'] / plan['dense']:.1%} remain; {_held(plan)}"
    return "half", ""


def _fault(stages: Row) -> str:
    """What is wrong with the result of a network that was pruned; empty where nothing is."""
    plan, equal, costs = (stages.get(name, {}) for name in ("plan", "equal", "costs"))
    if equal.get("equal") is False:
        return f"pruned differs from masked by {equal['difference']:.2g}"
    if costs.get("flops", 0) > plan.get("limit", 0):
        return f"{costs['flops']} FLOPs, over the limit of {plan['limit']:.0f}"
    differ = (unit for unit in COUNTED if unit in costs and costs[unit] != plan[unit])
    return next((f"{costs[unit]} {unit}, {plan[unit]} were planned" for unit in differ), "")


def _held(plan: Row) -> str:
    """What keeps a network whole, by the share of the FLOPs in layers that it touches."""
    return "; ".join(f"{share:.0%} {reason}" for reason, share in plan["holds"][:3])


def _failure(row: Row, names: Sequence[str]) -> str:
    """Which of the stages `names` failed or was not ended, and why; empty where none."""
    for name in names:
        found = row["stages"].get(name)
        if found is None:
            return f"{name}: {row['ended']}"
        if "error" in found:
            return f"{name}: {found['error']}"
    return ""


def later_failures(row: Row) -> Iterator[str]:
    """What a network that was pruned right does not do: train, tell its own counts, be exported and
    equal.
    """
    asked = STAGES[6:] if row["stages_asked"] == "all" else STAGES[6:8]
    if _verdict(row)[0] != "half" and "rewritten" in row:
        row = {**row, **row["rewritten"]}
    for name in asked:
        failure = _failure(row, [name])
        dense = row["stages"].get(name, {}).get("dense", "is exported and equal")
        if failure:
            yield (
                failure
                if dense == "is exported and equal"
                else f"{failure} (the dense network too: {dense})"
            )
    untrue = row["stages"].get("attributes", {}).get("untrue")
    if untrue:
        yield f"attributes: {untrue[0]}, {len(untrue)} in all"


def peer_verdict(row: Row) -> tuple[str, str]:
    """(ok | error | wrong | timeout | not run, why); wrong: it does not run, its output changed, or
    it is too large.
    """
    peer = row.get("peer")
    if peer is None:
        return "not run", ""
    run = peer["stages"].get("run", {})
    if run.get("same_shapes") is False:
        return "wrong", "the output has another shape"
    if "error" in run:
        return "wrong", f"does not run: {run['error']}"
    if run and not run["reached"]:
        return "wrong", f"{run['flops']:.1%} of the FLOPs remain, without an error"
    if run:
        return "ok", _failure(peer, ["train"])
    return "timeout" if peer["ended"] == "timeout" else "error", _failure(peer, PEER_STAGES)


def kind(row: Row) -> str:
    """Which of the three lists a network is from."""
    package, _, name = row["net"].partition("/")
    if package == "timm":
        return "timm, hybrids" if name in HYBRIDS else "timm, convnets"
    return package


def markdown(rows: Sequence[Row]) -> Iterator[str]:
    """The table: counts, families, what failed and why, what holds the rest, seconds and memory."""
    if not rows:
        return
    machine = rows[-1]["environment"]
    yield "# Coverage: which networks prune right\n"
    yield (
        f"{len(rows)} networks, random weights, half the FLOPs (fvcore's), one thread. "
        f"{machine['cpu']}, torch "
    )
    yield (
        f"{machine['torch']}, onnxruntime {machine['onnxruntime']}. "
        "*half*: pruned to half its FLOPs, equal to the "
    )
    yield (
        "masked network in float64 (1e-10), every count as planned; "
        "*rewritten*: the same with `--rewrite`, and not "
    )
    yield "without; *part*: the same, as far as it can be pruned. "
    yield (
        "Torch-Pruning *ok*: its network runs in eval mode with outputs of the same shapes "
        "and is as small as asked; "
    )
    yield "there is no masked network to hold it against.\n"
    yield from _counts("list", kind, rows)
    yield from _counts(
        "family", lambda row: f"{row['net'].partition('/')[0]}/{row['family']}", rows
    )
    yield from _each([row for row in rows if row["net"].partition("/")[0] not in LISTS[:2]])
    judged = [(row, *verdict(row)) for row in rows]
    for title, words in (
        ("Wrong", ["wrong"]),
        ("Failed", ["failed"]),
        ("Pruned in part", ["part"]),
    ):
        yield from _list(title, [(row["net"], why) for row, word, why in judged if word in words])
    pruned = [row for row, word, _ in judged if word in RIGHT]
    yield from _list(
        "Pruned right, but", [(row["net"], why) for row in pruned for why in later_failures(row)]
    )
    reasons = Counter(_alike(why) for _, word, why in judged if word == "failed")
    yield from _list(
        "Failures by reason", [(str(number), why) for why, number in reasons.most_common()]
    )
    peers = [(row["net"], *peer_verdict(row)) for row in rows]
    told = [(net, f"{word}: {why}") for net, word, why in peers if why]
    yield from _list("Torch-Pruning", told)
    yield "\n## Seconds and memory\n\n| stage | median s | most s | network | most MB | network |"
    yield f"|{'---|' * 6}"
    for name in STAGES:
        yield from _slowest(
            name, [(row["net"], row["stages"][name]) for row in rows if name in row["stages"]]
        )
    graphs = [
        (row["net"], row["stages"]["graph"])
        for row in rows
        if "walk_s" in row["stages"].get("graph", {})
    ]
    yield from _slowest(
        "label walk alone", [(net, {**found, "s": found["walk_s"]}) for net, found in graphs]
    )


def _counts(title: str, key: Any, rows: Sequence[Row]) -> Iterator[str]:
    """One row a value of `key`: how many networks came to what end, with slimmer and with
    Torch-Pruning.
    """
    heads = (*RIGHT, "wrong", "failed", "of these: also train, true, ONNX equal")
    peers = ("ok", "wrong", "error", "timeout")
    yield f"\n| {title} | networks | {' | '.join(heads)} | Torch-Pruning {' | '.join(peers)} |"
    yield f"|{'---|' * (len(heads) + len(peers) + 2)}"
    values: dict[str, list[Row]] = {}
    for row in rows:
        values.setdefault(key(row), []).append(row)
    for value, group in sorted(values.items()):
        words = Counter(verdict(row)[0] for row in group)
        whole = sum(verdict(row)[0] in RIGHT and not list(later_failures(row)) for row in group)
        theirs = Counter(peer_verdict(row)[0] for row in group)
        cells = [
            value,
            len(group),
            *(words[head] for head in heads[:-1]),
            whole,
            *(theirs[peer] for peer in peers),
        ]
        yield f"| {' | '.join(map(str, cells))} |"


def _each(rows: Sequence[Row]) -> Iterator[str]:
    """One line a network of other packages and of the rebuilt ones: how right, FLOPs that are left,
    why, seconds.
    """
    if rows:
        yield "\n## One by one\n"
        yield "| network | result | FLOPs left | s | why |\n|---|---|---|---|---|"
    for row in sorted(rows, key=lambda row: str(row["net"])):
        word, why = verdict(row)
        tries = [row, *([row["rewritten"]] if "rewritten" in row else [])]
        plan = tries[-1]["stages"].get("plan", {})
        left = f"{plan['flops'] / plan['dense']:.1%}" if "flops" in plan else ""
        seconds = sum(stage["s"] for each in tries for stage in each["stages"].values())
        yield f"| {row['net']} | {word} | {left} | {seconds:.1f} | {_plain(why)} |"


def _list(title: str, pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    if pairs:
        yield f"\n## {title}\n"
        yield from (f"- {name}: {_plain(why)}" for name, why in pairs)


def _plain(text: str) -> str:
    """Text that Markdown leaves alone, in at most 300 characters."""
    return re.sub(r"([|*_<>\[\]`])", r"\\\1", text[:300])


def _alike(reason: str) -> str:
    """A reason without numbers and names of places, so that the same fault counts as one."""
    return re.sub(r"\d+", "N", re.sub(r" in [\w.]+ \(", " (", reason))[:110]


def _slowest(name: str, found: Iterable[tuple[str, Row]]) -> Iterator[str]:
    rows = list(found)
    if rows:
        slow, large = (
            max(rows, key=lambda row: row[1]["s"]),
            max(rows, key=lambda row: row[1]["mb"]),
        )
        median = statistics.median(row["s"] for _, row in rows)
        times = f"{median:.2f} | {slow[1]['s']:.2f} | {slow[0]}"
        yield f"| {name} | {times} | {large[1]['mb']} | {large[0]} |"


if __name__ == "__main__":
    main()
