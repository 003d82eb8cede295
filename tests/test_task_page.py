"""docs/tasks.md: its example is run as it stands there; its tables name what there is."""

import dataclasses
import importlib.util
import re
import shlex
from contextlib import chdir
from pathlib import Path

from main_job import slimmer

from slimmer.atomic_files import read_json
from slimmer.tasks import Task
from slimmer.tasks.registry import TASKS

PAGE = (Path(__file__).parents[1] / "docs" / "tasks.md").read_text(encoding="utf-8")
CODE = re.search(r"`shapes\.py`:\n\n```python\n(.*?)```", PAGE, re.DOTALL)[1]
COMMANDS = re.search(r"Then:\n\n```bash\n(.*?)```", PAGE, re.DOTALL)[1].splitlines()


def test_the_example_goes_through_prune_export_and_profile(tmp_path):
    file = tmp_path / "shapes.py"
    file.write_text(CODE)
    spec = importlib.util.spec_from_file_location("page_shapes", file)
    shapes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shapes)
    with chdir(tmp_path):
        shapes.train("shapes.pth")
        for line in COMMANDS:
            quick = ["--batch", "1", "--threads", "1", "--seconds", "0.1", "--precision", "1"]
            more = quick if "profile" in line else ["--int8-drop", "0.2"] * ("export" in line)
            told = slimmer(*shlex.split(line)[1:], *more)
            assert told.exit_code == 0, told.output
    run = tmp_path / "runs" / "shapes"
    report, exported = read_json(run / "report.json"), read_json(run / "export.json")
    assert report["metric"]["name"] == "mIoU"
    assert report["accuracy"]["dense"] > 0.8
    assert report["accuracy"]["slim"] > 0.8
    slim = exported["networks"]["slim"]
    assert slim["metrics"]["mIoU"] == report["metrics"]["slim"]["mIoU"]
    assert read_json(run / "profile.json")["comparisons"]


def test_the_tables_name_every_task_its_options_and_every_attribute():
    for name, entry in TASKS.items():
        row = re.search(rf"^\| `{name}` \|.*$", PAGE, re.MULTILINE)[0]
        assert all(f"`{option}`" in row for option in entry.options.known_keys())
    named = set(re.findall(r"^\| `(\w+)[`(]", PAGE, re.MULTILINE))
    own = {each.name for each in dataclasses.fields(Task)} - {"data", "kinds"}
    assert own <= named
