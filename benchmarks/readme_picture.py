"""The picture of the README: the report page of a real run, photographed by Chromium.

    python benchmarks/readme_picture.py CHECKPOINT CIFAR_DIR --recipe cifar_resnet56

It prunes, exports and profiles with slimmer's own commands, so it takes as long as they do: an hour
for ResNet-56 on two cores. Latencies want an idle machine. `--run RUN` photographs a finished run
instead. The demo's network can stand in, with `digits` as DATA and as the recipe.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import which

import click

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.argument("data", required=False)
@click.option("--recipe", default="cifar_resnet56")
@click.option("--run", type=click.Path(exists=True, path_type=Path))
@click.option("--out", default="docs/images/report.png", type=click.Path(path_type=Path))
@click.option("--height", default=1260, help="Pixels of the page to show.")
def main(
    checkpoint: Path | None, data: str | None, recipe: str, run: Path | None, out: Path, height: int
) -> None:
    """Make a run if none is given, and write the picture of its page."""
    if run is None:
        if checkpoint is None or data is None:
            raise click.UsageError("give CHECKPOINT and DATA, or --run RUN")
        run = Path(tempfile.mkdtemp()) / checkpoint.stem
        make_run(checkpoint, data, recipe, run)
    photograph(run / "report.html", out, height)
    click.echo(out)


def make_run(checkpoint: Path, data: str, recipe: str, run: Path) -> None:
    """Prune, export and profile into `run`, with the commands that users type."""
    slimmer(["prune", checkpoint, "--recipe", recipe, "--data", data, "--out", run])
    slimmer(["export", run])
    slimmer(["profile", run, "--batch", "1,32", "--threads", "1"])


def slimmer(words: list[str | Path]) -> None:
    """Run a command of slimmer's; its failure ends the script."""
    subprocess.run([sys.executable, "-m", "slimmer", *map(str, words)], check=True)


def photograph(page: Path, picture: Path, height: int, width: int = 1280) -> None:
    """Write the upper part of a page as a PNG file."""
    browser = next(filter(None, map(which, BROWSERS)), None)
    if browser is None:
        raise click.ClickException(f"no browser: install one of {', '.join(BROWSERS)}")
    picture.parent.mkdir(parents=True, exist_ok=True)
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=5000"]
    size = f"--window-size={width},{height}"
    target = f"--screenshot={picture.resolve()}"
    with tempfile.TemporaryDirectory() as profile:
        place = f"--user-data-dir={profile}"
        command = [browser, *options, place, size, target, page.resolve().as_uri()]
        subprocess.run(command, check=True, timeout=120, capture_output=True)


if __name__ == "__main__":
    main()
