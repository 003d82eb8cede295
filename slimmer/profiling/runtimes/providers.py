"""ONNX Runtime's execution providers: names, packages and options."""

import onnxruntime

from slimmer.errors import RuntimeUnavailableError
from slimmer.profiling.runtimes.session_options import Options
from slimmer.registry import hint

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
PROVIDERS = {
    "cpu": (CPU,),
    "cuda": (CUDA,),
    # CUDA runs the nodes that TensorRT can't.
    "tensorrt": (TENSORRT, CUDA),
    "openvino": (OPENVINO,),
    "coreml": ("CoreMLExecutionProvider",),
    "directml": ("DmlExecutionProvider",),
}
# The package of ONNX Runtime that contains the provider.
PACKAGES = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "openvino": "onnxruntime-openvino",
    "coreml": "onnxruntime for macOS",
    "directml": "onnxruntime-directml for Windows",
}
SHORT = {names[0]: short for short, names in PROVIDERS.items()}
ON_GPU = (CUDA, TENSORRT)  # providers with inputs and outputs on a CUDA device

Asked = list[tuple[str, dict[str, str]]]


def check_provider(provider: str) -> str:
    """The short name of a provider, or ONNX Runtime's name if it has no short one.

    Raise RuntimeUnavailableError for an unknown name, and for a provider that this build of ONNX
    Runtime does not contain.

    >>> check_provider("cpu"), check_provider("CPUExecutionProvider")
    ('cpu', 'cpu')
    """
    provider = SHORT.get(provider, provider)
    every, built = onnxruntime.get_all_providers(), onnxruntime.get_available_providers()
    wanted = first_choice(provider)
    if provider not in PROVIDERS and provider not in every:
        raise RuntimeUnavailableError(
            "provider", f"{provider!r} is not known", hint(provider, [*PROVIDERS, *sorted(every)])
        )
    if wanted not in built:
        package = PACKAGES.get(provider, "another build of onnxruntime")
        here = " or ".join(SHORT.get(name, name) for name in sorted(built))
        raise RuntimeUnavailableError(
            f"provider {provider}",
            f"this onnxruntime {onnxruntime.__version__} was built without it",
            f"{package} instead of the installed package (two of them overwrite each other), "
            f"or provider {here}",
        )
    return provider


def first_choice(provider: str) -> str:
    """ONNX Runtime's name of the requested provider.

    >>> first_choice("tensorrt"), first_choice("QNNExecutionProvider")
    ('TensorrtExecutionProvider', 'QNNExecutionProvider')
    """
    return PROVIDERS.get(provider, (provider,))[0]


def asked_for(provider: str, options: Options) -> Asked:
    """The providers in order of preference, each with its options.

    Raise RuntimeUnavailableError for an option that the provider does not have.

    >>> asked_for("cuda", Options(tf32=False))
    [('CUDAExecutionProvider', {'use_tf32': '0'})]
    >>> asked_for("tensorrt", Options(cuda_graph=True))
    [('TensorrtExecutionProvider', {'trt_cuda_graph_enable': '1'}), ('CUDAExecutionProvider', {})]
    """
    names, named = PROVIDERS.get(provider, (provider,)), options.named()
    own: dict[str, str] = named if provider == "cuda" else {}
    if provider == "tensorrt" and "enable_cuda_graph" in named:
        own = {"trt_cuda_graph_enable": named.pop("enable_cuda_graph")}
    if named and provider != "cuda":
        raise RuntimeUnavailableError(
            f"provider {provider}",
            f"ONNX Runtime has no such option for it: {', '.join(named)}",
            "provider cuda, or leave the option out",
        )
    first, *others = names
    return [(first, own), *((name, {}) for name in others)]


def with_threads(asked: Asked, threads: int | None) -> Asked:
    """The providers with the number of threads, if they need it as an option.

    OpenVINO has its own thread pool, which the threads of a session do not limit. It does not
    report this option back.

    >>> with_threads([(OPENVINO, {})], 2), with_threads([(CPU, {})], 2)
    ([('OpenVINOExecutionProvider', {'num_of_threads': '2'})], [('CPUExecutionProvider', {})])

    Source: https://onnxruntime.ai/docs/execution-providers/OpenVINO-ExecutionProvider.html
    """
    found = []
    for name, options in asked:
        own = dict(options)
        if name == OPENVINO and threads is not None:
            own["num_of_threads"] = str(threads)
        found.append((name, own))
    return found
