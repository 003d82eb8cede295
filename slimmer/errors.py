"""The errors that a user can fix. Each says where it is, what was found, and what would be right.

All are a `SlimmerError`, with exit code 2.
"""

from collections.abc import Sequence

LONGEST = 20_000  # characters of a message


# What PyTorch and a network's own code raise when they are given what they do not support.
NETWORK_FAULTS = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    AssertionError,
    AttributeError,
)


class SlimmerError(Exception):
    """An error that the user can fix: `where` it is, what was `found`, what would be `right`."""

    exit_code = 2

    def __init__(self, where: str, found: str, right: str) -> None:
        super().__init__(readable(f"{where}: {found}\n  {right}"))
        self.where = where
        self.found = found
        self.right = right


def readable(text: str) -> str:
    r"""A text that is safe to print: unprintable characters are escaped, and long texts are cut.

    File names and file contents may contain anything, including terminal control sequences.

    >>> readable("a\x1b[31mb\udcff\n\u202ec"), len(readable("x" * 10**6))
    ('a\\x1b[31mb\\udcff\n\\u202ec', 20001)
    """
    cut = text
    if len(text) > LONGEST:
        cut = f"{text[:LONGEST]}…"
    return "".join(map(_escaped, cut))


def _escaped(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    return ascii(character)[1:-1]


def number(count: int, what: str) -> str:
    """A count with its noun.

    >>> number(1, "error"), number(2, "error")
    ('one error', '2 errors')
    """
    if count == 1:
        return f"one {what}"
    return f"{count} {what}s"


def first_few(texts: Sequence[str], most: int, between: str = ", ") -> str:
    """The first `most` of the texts, and how many more there are.

    >>> first_few(("a", "b", "c", "d"), 2), first_few(("a: bad", "b: bad"), 1, "; ")
    ('a, b, and 2 more', 'a: bad; and 1 more')
    >>> first_few(("a", "b"), 2)
    'a, b'
    """
    shown = list(texts[:most])
    if len(texts) > most:
        shown.append(f"and {len(texts) - most} more")
    return between.join(shown)


def first_line(error: BaseException) -> str:
    r"""The first line of an error's message, or the name of its class if it has none.

    >>> first_line(ValueError("batch is\n  fixed")), first_line(KeyError())
    ('batch is', 'KeyError')
    """
    return str(error).strip().partition("\n")[0] or type(error).__name__


_NO_MEMORY = (
    "can't allocate memory",  # torch on the CPU
    "out of memory",  # torch on a GPU, and CUDA itself
    "not enough memory",
    "cannot allocate memory",
    "failed to allocate memory",  # ONNX Runtime
    "bad_alloc",
    "bad allocation",
    "failed to map segment",  # loading a library under `ulimit -v`
)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error or one of its causes, from any library, means that memory ran out.

    >>> lacks_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."))
    True
    >>> lacks_memory(ValueError("batch is fixed"))
    False
    """
    each: BaseException | None = error
    seen: set[int] = set()
    while each is not None and id(each) not in seen:  # `raise error from error` makes a cycle
        seen.add(id(each))
        text = str(each).lower()
        if isinstance(each, MemoryError) or any(part in text for part in _NO_MEMORY):
            return True
        each = each.__cause__
    return False


class RecipeError(SlimmerError):
    """A recipe, an option or an amount that is not valid."""


class ModelError(SlimmerError):
    """An architecture that is unknown, can't be built or can't be traced."""


class UntraceableError(ModelError):
    """A network that torch.export can't trace as a whole; parts of it may be traceable."""


class CheckpointError(SlimmerError):
    """A weights file that is missing, damaged, unsafe or of another architecture."""


class DataError(SlimmerError):
    """A data set that is missing, empty, mislabelled or does not match the model."""


class TaskError(SlimmerError):
    """A task whose loader, loss or metric fails or does not fit the network."""


class BudgetError(SlimmerError):
    """A budget that can't be met."""


class TrainingError(SlimmerError):
    """Training that failed, such as a loss that is not a number."""


class TrustError(SlimmerError):
    """Python code that a file names, although the user did not."""


class RunError(SlimmerError):
    """A run directory that is not a run, belongs to another recipe, or is not finished."""


class ExportError(SlimmerError):
    """A network that can't be exported, or whose exported file has different outputs."""


class RuntimeUnavailableError(SlimmerError):
    """An execution provider that was requested but is not active."""


class PluginError(SlimmerError):
    """An installed package whose entry point for slimmer can't be used."""
