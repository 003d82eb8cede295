"""How the page writes numbers."""

MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NO-BREAK SPACE}"


def percent(share: float, digits: int = 1) -> str:
    r"""A share in percent.

    >>> percent(0.49776), percent(1, 0)
    ('49.8\xa0%', '100\xa0%')
    """
    return f"{100 * share:.{digits}f}{SPACE}%"


def round_percent(share: float) -> str:
    r"""A share in percent, for a tick of an axis: without zeros after the point.

    >>> round_percent(0.2), round_percent(0.975)
    ('20\xa0%', '97.5\xa0%')
    """
    return f"{100 * share:.6g}{SPACE}%"


def signed(value: float, spec: str) -> str:
    r"""A number with its sign; zero has none.

    >>> ascii(signed(-1.25, ".1f")), signed(0.04, ".1f"), signed(3, ".0f")
    ("'\\u22121.2'", '0.0', '+3')
    """
    text = format(abs(value), spec)
    if float(text) == 0:
        return text
    return f"{MINUS if value < 0 else '+'}{text}"


def milliseconds(value: float) -> str:
    """A duration in milliseconds with three or four digits.

    >>> milliseconds(0.0314159), milliseconds(12.3456), milliseconds(1234.5)
    ('0.0314', '12.3', '1234')
    """
    if value >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"
