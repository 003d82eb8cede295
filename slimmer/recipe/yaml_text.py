"""Reading and writing YAML: plain values, unique keys, and limits on size and depth."""

import re
from typing import Any, Final

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

MOST_BYTES: Final = 1 << 20
DEEPEST: Final = 50  # a recipe has five levels
MOST_VALUES: Final = 100_000  # after expanding aliases
SHOWN: Final = 80  # characters of a value in a message


def parse_yaml(text: str) -> Any:
    """The value of a YAML text. Raises ValueError with the position of the error.

    Errors are duplicate keys, values that don't fit their tag, values that contain themselves, and
    values that are nested too deep or are too large after expanding aliases.

    >>> parse_yaml("seed: 1e-3")
    {'seed': 0.001}
    >>> parse_yaml("{a: 1, a: 2}")
    Traceback (most recent call last):
    ...
    ValueError: line 1, column 8: duplicate key 'a', first used in line 1, column 2
    """
    try:
        return yaml.load(text, Loader=_Yaml)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if mark is None:
            raise ValueError(error.problem) from error
        raise ValueError(f"{_place(mark)}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError:
        raise ValueError("nested too deep") from None


def to_yaml(value: object) -> str:
    r"""A value as YAML that `parse_yaml` can read, with keys in their order.

    >>> to_yaml({"name": "1e3", "seed": 1000.0})
    "name: '1e3'\nseed: 1000.0\n"
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False)


def shown(value: object) -> str:
    """A value as text for a message, shortened if it is long.

    >>> shown("a"), shown("x" * 100)[-12:]
    ("'a'", 'xxxxxxxx ...')
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        return f"a {type(value).__name__} too large to show"
    if len(text) <= SHOWN:
        return text
    return f"{text[: SHOWN - 4]} ..."


def _place(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


class _Yaml(yaml.SafeLoader):
    """safe_load with 1e-3 as a number, as in YAML 1.2, and with the limits above."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._values = 0
        self._sizes: dict[int, int] = {}  # values in each finished node, by its id

    def compose_node(self, parent: Any, index: Any) -> Any:
        """The next node. The values behind an alias count once per use."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        is_alias = self.check_event(yaml.AliasEvent)
        before = self._values
        self._depth += 1
        if self._depth > DEEPEST:
            raise ComposerError(None, None, f"nested deeper than {DEEPEST} levels", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise ComposerError(None, None, f"*{event.anchor} contains itself", mark)
        if is_alias:
            self._values += self._sizes[id(node)]
        else:
            self._values += 1
        if self._values > MOST_VALUES:
            raise ComposerError(None, None, f"more than {MOST_VALUES:,} values", mark)
        if node is not None and not is_alias:
            self._sizes[id(node)] = self._values - before
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        """A mapping with unique keys."""
        node = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], yaml.Mark] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name = (key.tag, key.value)
            if name in first:
                found = f"duplicate key {shown(key.value)}, first used in {_place(first[name])}"
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
                None, None, f"{shown(node.value)} is not a valid {kind}", node.start_mark
            ) from error


class _Dumper(yaml.SafeDumper):
    """safe_dump that quotes strings which `_Yaml` would read as numbers."""


for _each in (_Yaml, _Dumper):
    _each.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"),
        list("-+0123456789"),
    )
