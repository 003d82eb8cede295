"""A balanced subset of CIFAR-10 in its own binary layout: the first images of every class, all test
images.

python benchmarks/small/subset.py CIFAR_DIR OUT --per-class 1000
"""

import shutil
from pathlib import Path

import click
import numpy as np

from slimmer.data.cifar import CIFAR10

FILES = CIFAR10.layouts["cifar-10-batches-bin"]


@click.command(help=__doc__)
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--per-class", default=1000, show_default=True)
def main(source: Path, out: Path, per_class: int) -> None:
    rows = np.concatenate(
        [np.fromfile(source / name, np.uint8).reshape(-1, FILES.record) for name in FILES.train]
    )
    chosen = np.sort(
        np.concatenate([np.flatnonzero(rows[:, 0] == label)[:per_class] for label in range(10)])
    )
    out.mkdir(parents=True)
    for name, part in zip(FILES.train, np.array_split(rows[chosen], len(FILES.train)), strict=True):
        part.tofile(out / name)
    for name in (FILES.test, FILES.names):
        shutil.copy(source / name, out / name)


if __name__ == "__main__":
    main()
