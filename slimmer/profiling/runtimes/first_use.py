"""What the first use of a network costs, measured in a process of its own: opening, first run,
memory.
"""

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

RUNS = 2  # behind the first; memory is asked for in these too
SECONDS = 600  # an engine that TensorRT builds takes minutes
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Fresh:
    """A network's first use: milliseconds to open the session and to run it once, and the memory
    that both took.

    `memory_bytes` is by how much the process's resident memory rose at its highest, over what it
    was before the session was opened; None where the system does not say. `device_bytes` is by how
    much the GPU's used memory rose, whoever used it; None without a GPU.
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
    """The first use of the ONNX file at `path` on images of `shape` (N, C, H, W), in a process of
    its own.

    None where that process fails: the session that is timed then says why.
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
    """The first use in this process, which should have done nothing else before."""
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    _forget_peak()
    on_gpu = first_choice(provider) in ON_GPU
    before, used = _resident("VmRSS"), _device_bytes() if on_gpu else None
    began = time.perf_counter()
    session = open_session(path, provider=provider, threads=threads, options=options)
    opened = time.perf_counter()
    once = session.prepare(x)
    once()
    ran = time.perf_counter()
    for _ in range(RUNS):
        once()
    peak, now = _resident("VmHWM"), _device_bytes() if on_gpu else None
    return Fresh(
        session_ms=1e3 * (opened - began),
        first_run_ms=1e3 * (ran - opened),
        memory_bytes=None if before is None or peak is None else max(0, peak - before),
        device_bytes=None if used is None or now is None else max(0, now - used),
    )


def _resident(key: str) -> int | None:
    """A figure of Linux's /proc/self/status in bytes.

    Not getrusage's `ru_maxrss`: a process inherits that from whoever started it.
    """
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), None)


def _forget_peak() -> None:
    """Let the highest memory so far be that of now, where Linux allows it; else the imports' peak
    may count.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _device_bytes() -> int | None:
    state = gpu_state()
    used = None if state is None else state.get("memory_used_mib")
    return round(used * 2**20) if isinstance(used, float) else None


def main(text: str) -> None:
    """Print the first use that the JSON `text` describes, as JSON."""
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
