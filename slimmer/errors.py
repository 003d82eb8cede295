"""The errors that a user can mend; each says where, what was found and what would be right.

SlimmerError                 exit code 2 ├── RecipeError              a recipe, an option or a unit
that can't be read ├── ModelError               an architecture that is not known, can't be built or
can't be traced ├── CheckpointError          a file of weights that is missing, broken, hostile or
of another architecture ├── DataError                a data set that is missing, empty, mislabelled
or not the model's ├── BudgetError              a budget that can't be met ├── TrainingError
training that came to nothing: a loss that is not a number ├── TrustError               code that a
file names and the user does not ├── RunError                 a run directory that is none, is
another recipe's, or is not finished ├── ExportError              a network that can't be exported,
or whose export computes something else ├── RuntimeUnavailableError  an execution provider that was
asked for and is not active └── PluginError              an installed package that adds to slimmer
and can't be used
"""

LONGEST = 20_000  # characters of a message


class SlimmerError(Exception):
    """Something that the user can mend: `where` it is, what was `found`, what would be `right`."""

    exit_code = 2

    def __init__(self, where: str, found: str, right: str) -> None:
        super().__init__(readable(f"{where}: {found}\n  {right}"))
        self.where = where
        self.found = found
        self.right = right


def readable(text: str) -> str:
    r"""A text as a message may have it: what can't be shown is written as Python writes it, and its
    end is left out.

    Names of files and what is in them may hold anything, also what a terminal would obey.

    >>> readable("a\x1b[31mb\udcff\n\u202ec"), len(readable("x" * 10**6))
    ('a\\x1b[31mb\\udcff\n\\u202ec', 20001)
    """
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return "".join(
        each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in cut
    )


def number(count: int, what: str) -> str:
    """A count with its noun.

    >>> number(1, "error"), number(2, "error")
    ('one error', '2 errors')
    """
    if count == 1:
        return f"one {what}"
    return f"{count} {what}s"


def first_line(error: BaseException) -> str:
    r"""The first line of what an error says, or its kind where it says nothing.

    >>> first_line(ValueError("batch is\n  fixed")), first_line(KeyError())
    ('batch is', 'KeyError')
    """
    return str(error).strip().partition("\n")[0] or type(error).__name__


_NO_MEMORY = (
    "can't allocate memory",  # torch, on the CPU
    "out of memory",  # torch, on a GPU, and CUDA's own
    "not enough memory",
    "cannot allocate memory",
    "failed to allocate memory",  # ONNX Runtime
    "bad_alloc",
    "bad allocation",
    "failed to map segment",  # a library that finds no room, under `ulimit -v`
)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that there is no memory left; whichever
    library raised it.

    >>> lacks_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."))
    True
    >>> lacks_memory(ValueError("batch is fixed"))
    False
    """
    each: BaseException | None = error
    seen: set[int] = set()
    while each is not None and id(each) not in seen:  # `raise error from error` makes a ring
        seen.add(id(each))
        text = str(each).lower()
        if isinstance(each, MemoryError) or any(part in text for part in _NO_MEMORY):
            return True
        each = each.__cause__
    return False


class RecipeError(SlimmerError):
    """A recipe, an option or a unit that can't be read."""


class ModelError(SlimmerError):
    """An architecture that is not known, can't be built or can't be traced."""


class UntraceableError(ModelError):
    """A network that torch.export can't follow as a whole; parts of it may be traced."""


class CheckpointError(SlimmerError):
    """A file of weights that is missing, broken, hostile or of another architecture."""


class DataError(SlimmerError):
    """A data set that is missing, empty, mislabelled or not the model's."""


class BudgetError(SlimmerError):
    """A budget that can't be met."""


class TrainingError(SlimmerError):
    """Training that came to nothing."""


class TrustError(SlimmerError):
    """Code that a file names, and the user has not."""


class RunError(SlimmerError):
    """A run directory that is none, belongs to another recipe, or is not finished."""


class ExportError(SlimmerError):
    """A network that can't be exported, or whose export computes something else."""


class RuntimeUnavailableError(SlimmerError):
    """An execution provider that was asked for and is not active."""


class PluginError(SlimmerError):
    """An installed package that adds to slimmer by an entry point, and can't be used."""
