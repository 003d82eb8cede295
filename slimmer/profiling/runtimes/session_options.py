"""What can be set of a session beside provider and threads; what is left out stays at the runtime's
default.
"""

from dataclasses import dataclass, fields

from slimmer.errors import RecipeError

CONV_SEARCHES = ("exhaustive", "heuristic", "default")


@dataclass(frozen=True)
class Options:
    """Settings that change a timing on a GPU; None leaves ONNX Runtime's own default.

    `strict` forbids nodes on the CPU. `cuda_graph` replays one captured graph in place of launching
    kernels. `tf32` rounds float32 products to 10 bits of mantissa. `conv_search` is how cuDNN's
    algorithm is found: "exhaustive", "heuristic" or "default". `prefer_nhwc` runs convolutions in
    channels-last layout. Source:
    https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
    """

    strict: bool = False
    cuda_graph: bool = False
    tf32: bool | None = None
    conv_search: str | None = None
    prefer_nhwc: bool | None = None

    def __post_init__(self) -> None:
        if self.conv_search is not None and self.conv_search not in CONV_SEARCHES:
            raise RecipeError("conv_search", repr(self.conv_search), " or ".join(CONV_SEARCHES))

    def named(self) -> dict[str, str]:
        """ONNX Runtime's names and values of what is set for CUDA.

        >>> Options(tf32=False, conv_search="heuristic").named()
        {'use_tf32': '0', 'cudnn_conv_algo_search': 'HEURISTIC'}
        """
        found = {
            "enable_cuda_graph": "1" if self.cuda_graph else None,
            "use_tf32": None if self.tf32 is None else str(int(self.tf32)),
            "cudnn_conv_algo_search": None
            if self.conv_search is None
            else self.conv_search.upper(),
            "prefer_nhwc": None if self.prefer_nhwc is None else str(int(self.prefer_nhwc)),
        }
        return {key: value for key, value in found.items() if value is not None}

    def told(self) -> str:
        """The options that are set, by name.

        >>> Options(strict=True, tf32=False).told()
        'strict, tf32'
        """
        return ", ".join(
            each.name for each in fields(self) if getattr(self, each.name) != each.default
        )


DEFAULTS = Options()
