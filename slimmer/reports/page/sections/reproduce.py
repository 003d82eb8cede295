"""How to do it again: commands, recipe, environment, and the files of the run."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from slimmer.reports.page.run_files import RunFiles
from slimmer.reports.page.section import Section
from slimmer.runs.directory import Run
from slimmer.runs.trust import is_code

WORDS = {
    "cpu": "CPU",
    "cpu_vector_floats": "floats in a CPU vector",
    "cores": "cores",
    "usable_cores": "usable cores",
    "load": "load",
    "os": "operating system",
    "python": "Python",
    "torch": "PyTorch",
    "onnx": "ONNX",
    "onnxruntime": "ONNX Runtime",
    "gpu": "GPU",
    "gpu_driver": "GPU driver",
}


def view(files: RunFiles) -> Mapping[str, Any]:
    """Commands, the recipe's text, tables of the environment and of the files."""
    report = files.report
    origin = {
        "slimmer": report["slimmer"],
        "date": report["date"],
        "method": report["method"],
        "seed": report["seed"],
        "epochs": f"{report['epochs']:g}",
        "seconds": f"{report['seconds']:.0f}",
        "recipe hash": report["recipe_hash"],
        "plan hash": report["plan_hash"],
    }
    machine = report["environment"]
    shown = {WORDS.get(key, key): value for key, value in machine.items() if value is not None}
    return {
        "commands": list(_commands(files)),
        "python": _in_python(files),
        "recipe": files.recipe.to_yaml(),
        "origin": origin,
        "environment": shown,
        "files": _files(files.run),
    }


def _commands(files: RunFiles) -> Iterator[str]:
    """Commands that make the run again, and what has been made of it."""
    run = files.report["run"]
    again = shlex.quote(f"{run}-again")
    if not _from_python(files):
        dense, recipe = shlex.quote(f"{run}/dense.safetensors"), shlex.quote(f"{run}/recipe.yaml")
        yield f"slimmer prune {dense} --recipe {recipe} --out {again}"
    if files.exported is not None:
        yield f"slimmer export {again}"
    if files.profile is not None:
        asked = files.profile["conditions"]
        batches = ",".join(map(str, asked["batches"]))
        threads = [str(number) for number in asked["threads"] if number is not None]
        chosen = f" --threads {','.join(threads)}" if threads else ""
        yield f"slimmer profile {again} --batch {batches}{chosen}"


def _in_python(files: RunFiles) -> str:
    """Python that loads the slim network, and makes the run again if only Python can."""
    run, arch, data = files.report["run"], files.report["arch"], _data_from_python(files)
    dense = repr(f"{run}/dense.safetensors") if arch else "model"
    lines = ["import slimmer", ""]
    if _from_python(files):
        given = f"{dense}, data" if data else dense
        recipe, again = repr(f"{run}/recipe.yaml"), repr(f"{run}-again")
        lines.append(f"slimmer.prune({given}, recipe={recipe}, out={again})")
    lines.append(f"network = slimmer.load({run!r}{'' if arch else ', model'})")
    return "\n".join(lines)


def _from_python(files: RunFiles) -> bool:
    """Whether the run got its module or its data from Python, so that no command repeats it."""
    return not files.report["arch"] or _data_from_python(files)


def _data_from_python(files: RunFiles) -> bool:
    recipe = files.recipe
    named = recipe.data.name or recipe.data.path or is_code(recipe.task.name or "")
    trained = files.report["accuracy"] is not None or files.report.get("trained_by")
    return bool(trained) and not named


def _files(run: Run) -> list[dict[str, str]]:
    """Links to the files next to the page, with their sizes."""
    paths = [path for path in run.path.iterdir() if path.is_file() and path != run.page]
    paths += run.path.glob("figures/*.png")
    found = []
    for path in sorted(paths):
        if not path.name.startswith("."):
            found.append({"name": path.relative_to(run.path).as_posix(), "size": _size(path)})
    return found


def _size(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 1e6:.2f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


SECTION = Section("reproduce", "Reproduce", view)
