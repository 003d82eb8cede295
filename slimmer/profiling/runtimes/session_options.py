"""Options of a session in addition to provider and threads."""

from dataclasses import dataclass, fields

from slimmer.errors import RecipeError

CONV_SEARCHES = ("exhaustive", "heuristic", "default")


@dataclass(frozen=True)
class Options:
    """Settings that change a timing on a GPU; None keeps ONNX Runtime's default.

    `strict` forbids nodes on the CPU. `cuda_graph` replays one captured graph instead of launching
    kernels. `tf32` rounds the factors of float32 products to 10 bits of mantissa. `conv_search` is
    how cuDNN's algorithm is chosen: "exhaustive", "heuristic" or "default". `prefer_nhwc` runs
    convolutions in channels-last layout. Source:
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
        """The options that are set for CUDA, as ONNX Runtime's names and values.

        >>> Options(tf32=False, conv_search="heuristic").named()
        {'use_tf32': '0', 'cudnn_conv_algo_search': 'HEURISTIC'}
        """
        found = {}
        if self.cuda_graph:
            found["enable_cuda_graph"] = "1"
        if self.tf32 is not None:
            found["use_tf32"] = str(int(self.tf32))
        if self.conv_search is not None:
            found["cudnn_conv_algo_search"] = self.conv_search.upper()
        if self.prefer_nhwc is not None:
            found["prefer_nhwc"] = str(int(self.prefer_nhwc))
        return found

    def told(self) -> str:
        """The names of the options that are set.

        >>> Options(strict=True, tf32=False).told()
        'strict, tf32'
        """
        changed = [each for each in fields(self) if getattr(self, each.name) != each.default]
        return ", ".join(each.name for each in changed)


DEFAULTS = Options()
