"""How long `slimmer --help` takes beside `python -c pass`, whole processes in turns.

python benchmarks/start_up.py --out benchmarks/results/start_up.json
"""

import json
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from slimmer.profiling.runtimes.environment import environment


@click.command(help=__doc__)
@click.option("--repeats", default=15)
@click.option("--out", type=Path, required=True)
def main(repeats: int, out: Path) -> None:
    commands = {
        "help": [str(Path(sys.executable).with_name("slimmer")), "--help"],
        "pass": [sys.executable, "-c", "pass"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for repeat in range(repeats + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if repeat:  # the first warms the disk
                seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    added = statistics.median(a - b for a, b in zip(seconds["help"], seconds["pass"], strict=True))
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    result = {
        "date": stamp,
        "median_s": medians,
        "added_s": added,
        "repeats": repeats,
        "environment": environment(),
    }
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(medians, added)


if __name__ == "__main__":
    main()
