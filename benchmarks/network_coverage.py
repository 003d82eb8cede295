"""Which networks prune right: torchvision's classifiers and segmentation nets, timm's convnets, and
on request others.

    python benchmarks/network_coverage.py --out benchmarks/results/coverage.jsonl
    python benchmarks/network_coverage.py --out benchmarks/results/coverage.jsonl --table
    python benchmarks/network_coverage.py --only packages --only peers --stages graph --out FILE

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
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import click
from coverage_names import LISTS, all_names
from coverage_page import markdown
from coverage_verdicts import Row, peer_verdict, verdict

from slimmer.atomic_files import write_text
from slimmer.profiling.runtimes.environment import environment

CHILD = Path(__file__).with_name("coverage_child.py")


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
        command = [sys.executable, str(CHILD), who, net, str(events), *options]
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


if __name__ == "__main__":
    main()
