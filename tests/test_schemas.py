"""The published JSON schemas: those of the models, and a real run's files fit them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from slimmer.runs.schemas.published import PUBLISHED, json_schema

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"
KINDS = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
KINDS["null"] = type(None)


def faults(schema, value, root, where=""):
    """Where a value does not fit a schema, by the keywords that say its shape."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return (
            []
            if any(not faults(each, value, root) for each in schema["anyOf"])
            else [f"{where}: fits none"]
        )
    kind = schema.get("type")
    if kind and (
        not isinstance(value, KINDS[kind]) or (isinstance(value, bool) and kind != "boolean")
    ):
        return [f"{where}: {value!r} is no {kind}"]
    found = [f"{where}.{key} is missing" for key in schema.get("required", ()) if key not in value]
    if kind == "array":
        for index, each in enumerate(value):
            found += faults(schema.get("items", {}), each, root, f"{where}[{index}]")
    if kind == "object":
        others = schema.get("additionalProperties")
        for key, each in value.items():
            own = schema.get("properties", {}).get(key, others)
            found += faults(own, each, root, f"{where}.{key}") if isinstance(own, dict) else []
    if kind in ("integer", "number") and value < schema.get("minimum", value):
        found.append(f"{where}: {value} is below {schema['minimum']}")
    return found


def test_the_published_schemas_are_those_of_the_models(tmp_path):
    """`python -m slimmer.runs.schemas docs/schemas` takes over a change that is meant."""
    command = [sys.executable, "-m", "slimmer.runs.schemas", str(tmp_path)]
    written = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert {Path(path).name for path in written} == {path.name for path in FOLDER.iterdir()}
    for path in written:
        assert Path(path).read_bytes() == (FOLDER / Path(path).name).read_bytes()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_real_runs_file_fits_its_schema_and_a_damaged_one_does_not(main_job, name):
    schema = json.loads((FOLDER / f"{name}.json").read_text())
    assert schema == json_schema(name)
    value = json.loads((main_job.run.path / f"{name}.json").read_text())
    assert faults(schema, value, schema) == []
    for key in schema["required"]:
        assert faults(
            schema, {other: each for other, each in value.items() if other != key}, schema
        )
        assert faults(schema, {**value, key: object()}, schema)


def test_the_command_says_how_it_is_used():
    told = subprocess.run(
        [sys.executable, "-m", "slimmer.runs.schemas"], check=False, capture_output=True, text=True
    )
    assert told.returncode == 1
    assert told.stderr == "usage: python -m slimmer.runs.schemas FOLDER\n"
