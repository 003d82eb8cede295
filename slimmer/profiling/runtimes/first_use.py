"""The cost of a network's first use, measured in a separate process: opening, first run, memory."""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slimmer.profiling.runtimes.gpu import gpu_state
from slimmer.profiling.runtimes.onnxruntime import open_session
from slimmer.profiling.runtimes.providers import ON_GPU, first_choice
from slimmer.profiling.runtimes.session_options import DEFAULTS, Options

RUNS = 2  # further runs, which may need more memory
SECONDS = 600  # TensorRT takes minutes to build an engine
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Fresh:
    """A network's first use: the milliseconds to open the session and to run it once, and memory.

    `memory_bytes` is the peak increase in the process's resident memory since before the session
    was opened; None if the system does not report it. `device_bytes` is the increase in the GPU's
    used memory, by any process; None without a GPU.
    """

    session_ms: float
    first_run_ms: float
    memory_bytes: int | None
    device_bytes: int | None


def measure_fresh(
    path: Path,
    shape: tuple[int, ...],
    *,
    provider: str,
    threads: int | None = None,
    options: Options = DEFAULTS,
) -> Fresh | None:
    """The first use of the ONNX file at `path` on images of `shape` (N, C, H, W), in a separate
    process.

    None if that process fails; the timed session then raises the reason.
    """
    job = {
        "path": str(path),
        "shape": shape,
        "provider": provider,
        "threads": threads,
        "options": asdict(options),
    }
    command = [sys.executable, "-m", "slimmer.profiling.runtimes.first_use", json.dumps(job)]
    try:
        answer = subprocess.run(  # noqa: S603 - slimmer's own module
            command, capture_output=True, text=True, check=True, timeout=SECONDS
        )
    except subprocess.SubprocessError:
        return None
    return Fresh(**json.loads(answer.stdout.splitlines()[-1]))


def use_once(
    path: Path, shape: tuple[int, ...], provider: str, threads: int | None, options: Options
) -> Fresh:
    """The first use in this process, which must not have done anything else before."""
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    _reset_peak()
    device = _device_bytes if first_choice(provider) in ON_GPU else _no_device
    before, used = _resident("VmRSS"), device()
    began = time.perf_counter()
    session = open_session(path, provider=provider, threads=threads, options=options)
    opened = time.perf_counter()
    once = session.prepare(x)
    once()
    ran = time.perf_counter()
    for _ in range(RUNS):
        once()
    return Fresh(
        session_ms=1e3 * (opened - began),
        first_run_ms=1e3 * (ran - opened),
        memory_bytes=_increase(before, _resident("VmHWM")),
        device_bytes=_increase(used, device()),
    )


def _increase(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(0, after - before)


def _resident(key: str) -> int | None:
    """A figure from Linux's /proc/self/status in bytes.

    `ru_maxrss` of getrusage is no alternative: a process inherits it from its parent.
    """
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    return None


def _reset_peak() -> None:
    """Reset the peak memory to the current value if Linux allows it; otherwise the peak during
    imports may count.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _no_device() -> None:
    """Return None: there is no GPU whose memory counts."""


def _device_bytes() -> int | None:
    state = gpu_state()
    used = None if state is None else state.get("memory_used_mib")
    return round(used * 2**20) if isinstance(used, float) else None


def main(text: str) -> None:
    """Measure the first use that the JSON `text` describes, and print it as JSON."""
    job: dict[str, Any] = json.loads(text)
    found = use_once(
        Path(job["path"]),
        tuple(job["shape"]),
        job["provider"],
        job["threads"],
        Options(**job["options"]),
    )
    sys.stdout.write(json.dumps(asdict(found)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
