"""The latency of two ONNX files by a script of its own, which uses nothing of slimmer.

    python benchmarks/timed_apart.py DENSE.onnx SLIM.onnx --threads 1 --batch 1

Plain ONNX Runtime sessions, run in turns of a few runs each. For each clock (CPU time of this
process, wall time) and file it prints, as JSON, the 5th percentile and the median in milliseconds,
and the ratio of the two 5th percentiles.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}


def bound(session: Any, images: Any, device: str) -> Callable[[], None]:
    """A call that runs the session on images that are on the device already."""
    binding = session.io_binding()
    value = onnxruntime.OrtValue.ortvalue_from_numpy(images, device, 0)
    binding.bind_ortvalue_input(session.get_inputs()[0].name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name, device, 0)

    def run(_alive: Any = value) -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("files", nargs=2)
    asked.add_argument("--threads", type=int, required=True)
    asked.add_argument("--batch", type=int, required=True)
    asked.add_argument("--provider", default="cpu")
    asked.add_argument("--turns", type=int, default=30)
    asked.add_argument("--seconds", type=float, default=8.0)
    given = asked.parse_args()
    sessions = []
    for file in given.files:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = given.threads
        provider = PROVIDERS[given.provider]
        own = {"num_of_threads": str(given.threads)} if given.provider == "openvino" else {}
        made = onnxruntime.InferenceSession(file, options, providers=[(provider, own)])
        if made.get_providers()[0] != provider:
            raise SystemExit(f"{given.provider} is not active")
        sessions.append(made)
    shape = [given.batch, *sessions[0].get_inputs()[0].shape[1:]]
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    device = "cuda" if given.provider in ("cuda", "tensorrt") else "cpu"
    runs = [bound(session, images, device) for session in sessions]
    taken = [[], []]
    for run in runs:
        for _ in range(3):
            run()
    began = time.perf_counter()
    for turn in range(10 * given.turns):
        if turn >= given.turns and time.perf_counter() - began > given.seconds:
            break
        for which, run in enumerate(runs):
            run()  # the first run of a turn does not count
            for _ in range(3):
                cpu, wall = time.process_time(), time.perf_counter()
                run()
                taken[which].append((time.process_time() - cpu, time.perf_counter() - wall))
    found = {}
    for column, clock in enumerate(("cpu", "wall")):
        columns = [1000 * np.array(runs)[:, column] for runs in taken]
        dense, slim = (np.percentile(each, 5) for each in columns)
        medians = [float(np.median(each)) for each in columns]
        found[clock] = {"p5_ms": [float(dense), float(slim)], "median_ms": medians}
        found[clock]["ratio"] = float(slim / dense)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
