"""Reports and profiles made from the schemas of their files: whole ones, of which a test sets what
it is about.
"""

from slimmer.profiling.results import SCHEMA
from slimmer.runs.schemas import ProfileFile, ReportFile
from slimmer.runs.schemas.profile import ProfiledComparison, ProfiledTiming

COSTS = {"memory", "latency"}  # whose keys the schema leaves open
ENVIRONMENT = {
    **dict.fromkeys(("cpu_vector_floats", "cores", "usable_cores", "load", "gpu", "gpu_driver")),
    **dict.fromkeys(("cpu", "os", "python", "torch", "onnx", "onnxruntime"), "one"),
}


def made(schema, values):
    """The values as the schema's file holds them. Raises ValidationError if they do not fit, and
    AssertionError for a key that the schema does not have.
    """
    found = schema.model_validate(values)
    strange = found.model_extra.keys() - COSTS
    assert not strange, f"{schema.__name__} has no {strange}"
    return found.model_dump(by_alias=True, exclude_unset=True)


def report(**changes):
    """All that report.json holds, with `changes` in it."""
    cost = {"convention": "by hand", "dense": 1000, "slim": 500, "ratio": 0.5, "sparsity": 0.5}
    cost |= {"limit": None, "limit_ratio": None}
    values = {
        "format": 1,
        "slimmer": "0.1.0",
        "date": "2026-01-01T00:00:00+00:00",
        "run": "run",
        "arch": "cifar_resnet8",
        "input_size": [1, 16, 16],
        "inputs": "one image of 1x16x16",
        "traced": None,
        "seed": 0,
        "method": "taylor",
        "epochs": 3.0,
        "recipe_hash": "0" * 16,
        "plan_hash": "1" * 16,
        "flops": dict(cost),
        "params": dict(cost),
        "recount": {"fvcore": 500, "torch": 1000},
        "before_projection": None,
        "accuracy": {"dense": 0.95, "removed": 0.5, "slim": 0.9},
        "groups": [],
        "layers": [],
        "fixed": [],
        "uncounted": [],
        "attributes": {"followed": [], "stayed": [], "unequal_splits": []},
        "seconds": 60.0,
        "environment": ENVIRONMENT,
        "figures": [],
        **changes,
    }
    return made(ReportFile, values)


def timing(median_ms, **changes):
    """One timing of a profile, all of whose figures are the median."""
    figures = ("p5_ms", "p50_ms", "p90_ms", "p95_ms", "mean_ms", "min_ms", "max_ms", "first_run_ms")
    values = {
        "model": "dense",
        "runtime": "onnxruntime",
        "threads": None,
        "batch": 1,
        "samples": 99,
        **dict.fromkeys(figures, median_ms),
        "median_ms": median_ms,
        "block_medians_ms": [median_ms],
        "p99_ms": None,
        "windows_ms": [median_ms],
        "variation": 0.0,
        "drift": 0.0,
        "drift_verdict": "steady",
        "images_per_s": 1.0,
        "settled": True,
        "cpu_median_ms": None,
        "waited": None,
        "copies_ms": {},
        **changes,
    }
    return made(ProfiledTiming, values)


def comparison(speedup, **changes):
    """One comparison of a profile, with an interval of no width."""
    values = {
        "model": "slim",
        "runtime": "onnxruntime",
        "threads": None,
        "batch": 1,
        "against": "dense",
        "against_runtime": "onnxruntime",
        "speedup": speedup,
        "low": speedup,
        "high": speedup,
        "of_medians": speedup,
        "verdict": "faster",
        "by": "wall",
        "undisturbed": None,
        "cpu": None,
        "wall": {"speedup": speedup, "low": speedup, "high": speedup},
        "promise": None,
        "efficiency": None,
        **changes,
    }
    return made(ProfiledComparison, values)


def profile(timings, comparisons, provider="CPUExecutionProvider"):
    """All that profile.json holds."""
    names = list(dict.fromkeys(one["model"] for one in timings)) or ["dense", "slim"]
    effort = {"seconds": 1.0, "runs": 5, "blocks": 11, "precision": 0.015}
    conditions = {
        "input_size": [1, 16, 16],
        "effort": effort,
        "batches": [1],
        "provider": "cpu",
        "seed": 0,
    }
    subject = {
        "name": "dense",
        "path": "dense.onnx",
        "sha256": "",
        "size_bytes": 1,
        "flops": None,
        "params": None,
    }
    subject |= {
        "precision": None,
        "origin": {},
        "session_ms": 1.0,
        "runtime": "onnxruntime",
        "provider": provider,
    }
    values = {
        "schema": SCHEMA,
        "date_utc": "2026-01-01T00:00:00+00:00",
        "provider": provider,
        "conditions": {**conditions, "runtimes": ["onnxruntime"], "threads": [None], "options": {}},
        "environment": ENVIRONMENT,
        "gpu": {},
        "subjects": [{**subject, "name": name, "settings": {}} for name in names],
        "timings": timings,
        "comparisons": comparisons,
        "among": [],
        "fresh": [],
        "traces": [],
        "layers": {name: [] for name in names},
        "notes": [],
    }
    return made(ProfileFile, values)
