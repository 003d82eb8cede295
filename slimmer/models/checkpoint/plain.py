"""What training scripts keep beside the weights: plain types, which are read as stand-ins that do
nothing.

`torch.load(weights_only=True)` makes tensors, dicts and numbers, and refuses every other type
unless it is allowed. Here a type is allowed by its name alone: in its place stands `Plain`, which
takes whatever it is given and keeps nothing, or a plain dict. So neither the type's own code nor
any of the file's is run, whatever the file says.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Self


class Plain:
    """Stands for an object of a plain type, or for the type itself; holds nothing."""

    def __init__(self, *_arguments: object) -> None:
        """Take what a pickle gives, and forget it."""

    def __new__(cls, *_arguments: object) -> Self:
        """An object that holds nothing, whatever a pickle gives."""
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        """Take a state, and forget it."""


class PlainDict:
    """Stands for a type of dict; an object of it is an ordinary dict, which may hold the weights."""

    def __new__(cls, *_arguments: object) -> "OrderedDict[Any, Any]":  # type: ignore[misc]
        """An empty dict, which the pickle fills."""
        return OrderedDict()


_PLAIN: Final = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    "builtins.dict",
    "builtins.float",
    "builtins.frozenset",
    "builtins.int",
    "builtins.list",
    "builtins.object",
    "builtins.range",
    "builtins.slice",
    "builtins.str",
    "builtins.tuple",
    "collections.deque",
    "datetime.date",
    "datetime.datetime",
    "datetime.time",
    "datetime.timedelta",
    "datetime.timezone",
    "decimal.Decimal",
    "fractions.Fraction",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.PurePath",
    "pathlib.PurePosixPath",
    "pathlib.PureWindowsPath",
    "pathlib.WindowsPath",
    "typing.Any",
    "uuid.UUID",
    *(
        f"{module}.{name}"
        for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("_reconstruct", "dtype", "ndarray", "scalar")
    ),
    *(
        f"numpy.dtypes.{kind}DType"
        for kind in ("Bool", "Int32", "Int64", "Float16", "Float32", "Float64")
    ),
    "mmengine.logging.history_buffer.HistoryBuffer",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.nodes.AnyNode",
)
_DICTS: Final = (
    "collections.defaultdict",
    "easydict.EasyDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_utilities.core.rank_zero.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
)


def stand_ins() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """The stand-ins, each with the full name of the type that it stands for, as `safe_globals`
    takes them.
    """
    return [*((Plain, name) for name in _PLAIN), *((PlainDict, name) for name in _DICTS)]
