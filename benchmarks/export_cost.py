"""CPU seconds of exporting one run in every form: dense and slim; float32, fp16, int8,
torch.export; a fixed batch.

    python benchmarks/export_cost.py RUN --out benchmarks/results/export_cost.json

The run is a finished one with data; a copy of it, without what it has exported, is exported. The
export is one call of the command in a process of its own, on one thread, from the start of Python
to its end; every file is tested on the run's test images, as always.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import click

from slimmer.atomic_files import read_json, write_json
from slimmer.profiling.runtimes.environment import environment

FORMS = (
    "--fp16",
    "--int8",
    "--int8-drop",
    "1",
    "--torch",
    "--dense",
    "--batch",
    "8",
    "--dynamic-size",
)


@click.command(help=__doc__)
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=Path, required=True)
def main(run: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="slimmer-export-cost-") as folder:
        copy = Path(folder) / "run"
        shutil.copytree(
            run, copy, ignore=shutil.ignore_patterns("export.json", "*.onnx*", "*.pt2", ".*")
        )
        cpu, wall = spent([sys.executable, "-m", "slimmer", "export", str(copy), *FORMS])
        listed = read_json(copy / "export.json")["networks"]
        arch = read_json(copy / "report.json")["arch"]
    found = {
        "command": f"python benchmarks/export_cost.py {run.name} --out {out.name}",
        "arch": arch,
        "export": " ".join(["slimmer export RUN", *FORMS]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "files": [Path(entry["file"]).name for entry in listed.values()],
        "cpu_seconds": round(cpu, 1),
        "wall_seconds": round(wall, 1),
    }
    write_json(out, found)
    print(f"{cpu:.1f} s of CPU time, {wall:.1f} s by the clock, {len(listed)} files")


def spent(command: list[str], stdout: TextIO | None = None) -> tuple[float, float]:
    """The CPU seconds of a command and of what it starts, and the seconds by the clock; one thread
    an operation. What it prints goes to `stdout`, by default to that of this process.
    """
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environ, stdout=stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - begun


if __name__ == "__main__":
    main()
