"""Stand-ins for the plain types that training scripts store next to the weights.

`torch.load(weights_only=True)` creates tensors, dicts and numbers, and refuses every other type
unless it is allowed. Here a type is allowed only by its name: it is replaced by `Plain`, which
accepts any arguments and stores nothing, or by a plain dict. So neither the type's own code nor any
code in the file is run, whatever the file contains.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Self


class Plain:
    """A stand-in for an object of a plain type, or for the type itself; stores nothing."""

    def __init__(self, *_arguments: object) -> None:
        """Accept any arguments and store nothing."""

    def __new__(cls, *_arguments: object) -> Self:
        """An empty object, whatever the arguments are."""
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        """Accept a state and store nothing."""


class PlainDict:
    """A stand-in for a type of dict; it creates ordinary dicts, which may contain the weights."""

    def __new__(cls, *_arguments: object) -> "OrderedDict[Any, Any]":  # type: ignore[misc]
        """An empty dict, which unpickling fills."""
        return OrderedDict()


_NUMPY_MODULES: Final = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
_NUMPY_KINDS: Final = ("Bool", "Int32", "Int64", "Float16", "Float32", "Float64")
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
    *(f"{module}._reconstruct" for module in _NUMPY_MODULES),
    *(f"{module}.dtype" for module in _NUMPY_MODULES),
    *(f"{module}.ndarray" for module in _NUMPY_MODULES),
    *(f"{module}.scalar" for module in _NUMPY_MODULES),
    *(f"numpy.dtypes.{kind}DType" for kind in _NUMPY_KINDS),
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
    """The stand-ins, each with the full name of the type that it replaces, in the form that
    `safe_globals` takes.
    """
    return [*((Plain, name) for name in _PLAIN), *((PlainDict, name) for name in _DICTS)]
