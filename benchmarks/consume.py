"""Files run by one consumer, in a process that holds nothing else: called by consumers.py, with
NumPy alone.

    python consume.py CONSUMER FOLDER

FOLDER/jobs.json lists files with their inputs; outputs go beside them as raw numbers, what happened
to standard output, a line of JSON each.
"""

# ruff: noqa: PLC0415 - each consumer is imported in its own process alone
import json
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

Job = dict[str, Any]
Numbers = np.ndarray[Any, Any]
FLOATS = ("use_fp16_arithmetic", "use_fp16_storage", "use_fp16_packed", "use_bf16_storage")


def onnxruntime(job: Job, folder: Path) -> Numbers:
    """In ONNX Runtime on the CPU."""
    import onnxruntime as runtime

    session = runtime.InferenceSession(
        str(folder / job["file"]), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"input": images_of(job, folder)})[0]


def openvino(job: Job, folder: Path) -> Numbers:
    """In OpenVINO on the CPU, float32 inside as the file has it; a program of torch.export by its
    PyTorch frontend.
    """
    import openvino as runtime

    path = folder / job["file"]
    model = str(path)
    if path.suffix == ".pt2":
        import torch

        model = runtime.convert_model(torch.export.load(path))
    precise = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return runtime.Core().compile_model(model, "CPU", precise)([images_of(job, folder)])[0]


def ncnn(job: Job, folder: Path) -> Numbers:
    """In ncnn, with the file converted by pnnx; one image at a time, since it has no batches."""
    import ncnn as runtime

    images = images_of(job, folder)
    net = folder / f"ncnn-{Path(job['file']).stem}"
    net.mkdir()
    shutil.copy(folder / job["file"], net / "net.onnx")
    sides = ",".join(map(str, (job["batch"] or 1, *images.shape[1:])))
    kind = "f16" if job["type"] == "float16" else ""
    places = find_spec("pnnx").submodule_search_locations  # importing it would want PyTorch
    words = [Path(places[0]) / "pnnx", "net.onnx", f"inputshape=[{sides}]{kind}", "fp16=0"]
    done = subprocess.run(words, cwd=net, capture_output=True, text=True, timeout=120, check=False)
    written = net / "net.ncnn.param"
    if done.returncode or not written.exists():
        raise RuntimeError(f"pnnx does not convert it, exit code {done.returncode}")
    operations = {line.split()[0] for line in written.read_text().splitlines()[2:]}
    foreign = sorted(each for each in operations if "." in each or "::" in each)
    if foreign:
        raise RuntimeError(f"pnnx leaves {', '.join(foreign)}, which ncnn has not")
    network = runtime.Net()
    for name in FLOATS:
        setattr(network.opt, name, False)
    network.opt.num_threads = 1
    if network.load_param(str(written)) or network.load_model(str(net / "net.ncnn.bin")):
        raise RuntimeError("ncnn does not load what pnnx wrote")
    return np.stack([one_image(runtime, network, image) for image in images])


def one_image(runtime: Any, network: Any, image: Numbers) -> Numbers:
    """The output of one image."""
    extractor = network.create_extractor()
    extractor.input("in0", runtime.Mat(np.ascontiguousarray(image)).clone())
    code, output = extractor.extract("out0")
    if code:
        raise RuntimeError(f"ncnn gives nothing, code {code}")
    return np.array(output).reshape(-1).copy()


def torch(job: Job, folder: Path) -> Numbers:
    """In PyTorch: torch.export.load, which needs no code of slimmer's."""
    import torch as runtime

    program = runtime.export.load(folder / job["file"]).module()
    return program(runtime.from_numpy(images_of(job, folder))).detach().numpy()


def images_of(job: Job, folder: Path) -> Numbers:
    """The images that a job feeds."""
    return np.fromfile(folder / job["images"], job["type"]).reshape(job["shape"])


def main() -> None:
    """Every job, none of which stops the next."""
    consumer, folder = sys.argv[1], Path(sys.argv[2])
    run = {"onnxruntime": onnxruntime, "openvino": openvino, "ncnn": ncnn, "torch": torch}[consumer]
    told = import_module(consumer).__version__
    print(json.dumps({"version": told, "numpy": np.__version__}), flush=True)
    for job in json.loads((folder / "jobs.json").read_text()):
        try:
            np.ascontiguousarray(run(job, folder)).astype(job["type"], copy=False).tofile(
                folder / job["answer"]
            )
            said = {}
        except Exception as error:  # noqa: BLE001 - a consumer may raise anything, and that is the result
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"name": job["name"], **said}), flush=True)


if __name__ == "__main__":
    main()
