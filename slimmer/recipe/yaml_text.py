"""YAML as slimmer reads it: plain values, every key once, of a size and depth that people write."""

import re
from typing import Any, Final

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

MOST_BYTES: Final = 1 << 20
DEEPEST: Final = 50  # a recipe has five levels
MOST_VALUES: Final = 100_000  # with what aliases repeat
SHOWN: Final = 80  # characters of a value in a message


def parse_yaml(text: str) -> Any:
    """The value of a YAML text. Raises ValueError with the line of what is wrong.

    A key that is there twice is wrong, and so is a value that is none of its kind, one that refers
    to itself, and one that is nested deeper, or is larger with what its aliases repeat, than
    anything that people write.

    >>> parse_yaml("seed: 1e-3")
    {'seed': 0.001}
    >>> parse_yaml("{a: 1, a: 2}")
    Traceback (most recent call last):
    ...
    ValueError: line 1, column 8: 'a' is there twice; it was there in line 1, column 2 already
    """
    try:
        return yaml.load(text, Loader=_Yaml)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"{'' if mark is None else f'{_place(mark)}: '}{error.problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError:
        raise ValueError("is nested too deep") from None


def to_yaml(value: object) -> str:
    r"""A value as YAML that `parse_yaml` reads again, keys in their order.

    >>> to_yaml({"name": "1e3", "seed": 1000.0})
    "name: '1e3'\nseed: 1000.0\n"
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False)


def shown(value: object) -> str:
    """A value as a message shows it, cut where it is long.

    >>> shown("a"), shown("x" * 100)[-12:]
    ("'a'", 'xxxxxxxx ...')
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 4]} ..."


def _place(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


class _Yaml(yaml.SafeLoader):
    """safe_load with 1e-3 as a number, as YAML 1.2 and everyone else has it, and with the limits
    above.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._values = 0
        self._sizes: dict[int, int] = {}  # of nodes that are whole, by their id: the values in them

    def compose_node(self, parent: Any, index: Any) -> Any:
        """The next node; what an alias repeats counts as often as it is repeated."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        is_alias = self.check_event(yaml.AliasEvent)
        before = self._values
        self._depth += 1
        if self._depth > DEEPEST:
            raise ComposerError(None, None, f"is nested deeper than {DEEPEST} levels", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise ComposerError(None, None, f"*{event.anchor} refers to what it is a part of", mark)
        self._values += self._sizes[id(node)] if is_alias else 1
        if self._values > MOST_VALUES:
            raise ComposerError(None, None, f"holds more than {MOST_VALUES:,} values", mark)
        if node is not None and not is_alias:
            self._sizes[id(node)] = self._values - before
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        """A mapping whose keys are there once each."""
        node = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], yaml.Mark] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name = (key.tag, key.value)
            if name in first:
                found = f"{shown(key.value)} is there twice; it was there in {_place(first[name])} already"
                raise ComposerError(None, None, found, key.start_mark)
            first[name] = key.start_mark
        return node

    def construct_object(self, node: Any, deep: Any = False) -> Any:
        """The value of a node."""
        try:
            return super().construct_object(node, deep=deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            kind = str(node.tag).rpartition(":")[2]
            raise ConstructorError(
                None, None, f"{shown(node.value)} is no {kind}", node.start_mark
            ) from error


class _Dumper(yaml.SafeDumper):
    """safe_dump with quotes around a text that `_Yaml` would read as a number."""


for _each in (_Yaml, _Dumper):
    _each.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"),
        list("-+0123456789"),
    )
