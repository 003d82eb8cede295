"""One-line descriptions of libraries' errors."""

ONE_LINE = 400
ONNX_FILE = "an ONNX file, as `slimmer export` writes it"


def one_line(error: BaseException) -> str:
    r"""The first cause of a library's error, in one line of at most 400 characters.

    >>> one_line(ValueError("batch is\n  fixed"))
    'ValueError: batch is fixed'
    """
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= ONE_LINE else text[: ONE_LINE - 1] + "…"
