"""ONNX Runtime's execution providers: their names, and what each is asked for."""

import onnxruntime

from slimmer.errors import RuntimeUnavailableError
from slimmer.registry import hint
from slimmer.runtimes.options import Options

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
PROVIDERS = {
    "cpu": (CPU,),
    "cuda": (CUDA,),
    # TensorRT leaves to CUDA what it can't run.
    "tensorrt": (TENSORRT, CUDA),
}
SHORT = {names[0]: short for short, names in PROVIDERS.items()}
ON_GPU = (CUDA, TENSORRT)  # whose inputs and outputs lie on a CUDA device

Asked = list[tuple[str, dict[str, str]]]


def check_provider(provider: str) -> str:
    """The provider: cpu, cuda, tensorrt, or any that ONNX Runtime was built with, by its own name.

    Raises RuntimeUnavailableError for a name that is not known, and for a provider that was left out of this build.

    Those that have a short name get it.

    >>> check_provider("cpu"), check_provider("CPUExecutionProvider")
    ('cpu', 'cpu')
    """
    provider = SHORT.get(provider, provider)
    if provider in PROVIDERS:
        return provider
    every, built = onnxruntime.get_all_providers(), onnxruntime.get_available_providers()
    if provider not in every:
        raise RuntimeUnavailableError(
            "provider", f"{provider!r} is not known", hint(provider, [*PROVIDERS, *sorted(every)])
        )
    if provider not in built:
        raise RuntimeUnavailableError(
            f"provider {provider}",
            f"this onnxruntime {onnxruntime.__version__} was built without it",
            f"another build of onnxruntime, or one of {', '.join(sorted(built))}",
        )
    return provider


def first_choice(provider: str) -> str:
    """ONNX Runtime's name of the provider that was asked for.

    >>> first_choice("tensorrt"), first_choice("OpenVINOExecutionProvider")
    ('TensorrtExecutionProvider', 'OpenVINOExecutionProvider')
    """
    return PROVIDERS.get(provider, (provider,))[0]


def asked_for(provider: str, options: Options) -> Asked:
    """The providers in order, each with its options.

    Raises RuntimeUnavailableError for an option that the provider does not have: nothing is dropped silently.

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
    return [(name, own if index == 0 else {}) for index, name in enumerate(names)]
