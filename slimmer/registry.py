"""Registries: names and their values, with suggestions for unknown names, and entry points."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeAlias, TypeVar, cast

from slimmer.errors import PluginError, SlimmerError, first_line

Function: TypeAlias = str | Callable[..., Any]  # a function, or "module:function" to import later

T = TypeVar("T")


def hint(name: str, known: Iterable[str]) -> str:
    """A suggestion for an unknown name: the nearest known name, and all known names.

    >>> hint("cifar_resnet21", ["cifar_resnet20", "vgg"])
    "did you mean 'cifar_resnet20'? known: cifar_resnet20, vgg"
    >>> hint("x", ["a"])
    'known: a'
    """
    known = sorted(known)
    near = get_close_matches(name, known, n=1)
    listed = "known: " + ", ".join(known)
    if not near:
        return listed
    return f"did you mean {near[0]!r}? {listed}"


def plugin_names(group: str) -> list[str]:
    """The names in an entry-point group of all installed packages, sorted. Loads none of them.

    >>> plugin_names("slimmer.nothing")
    []
    """
    return sorted(entry_points(group=group).names)


def load(value: Any) -> Any:
    """The value itself, or the one at "package.module:name". Raises PluginError if that fails.

    >>> load("math:floor")(2.5)
    2
    """
    if not isinstance(value, str):
        return value
    module, _, name = value.partition(":")
    try:
        return getattr(import_module(module), name)
    except Exception as error:
        said = f"can't be loaded: {type(error).__name__}: {first_line(error)}"
        right = "give the function as package.module:function"
        raise PluginError(value, said, right) from error


class Registry(Mapping[str, T]):
    """A mapping from names to values. Unknown names raise `error`.

    `entry_points` is an entry-point group, such as "slimmer.costs". The entries of installed
    packages are loaded at the first lookup. Each must be an instance of `kind`; if it has a `name`,
    that must be the name of its entry point. Otherwise PluginError names the package.
    """

    def __init__(
        self,
        what: str,
        error: type[SlimmerError],
        *,
        entry_points: str | None = None,
        kind: type[Any] = object,
    ) -> None:
        self._what = what
        self._error = error
        self._entries: dict[str, T] = {}
        self._group = entry_points
        self._kind = kind

    def add(self, name: str, value: T) -> T:
        """Add `value` under `name`, and return it. Raises ValueError if the name is taken."""
        if name in self._entries:
            raise ValueError(f"{self._what} {name!r} is registered twice")
        self._entries[name] = value
        return value

    def __getitem__(self, name: str) -> T:
        known = self._loaded()
        if name not in known:
            raise self._error(self._what, f"{name!r} is not known", hint(name, known))
        return known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded())

    def __len__(self) -> int:
        return len(self._loaded())

    def __contains__(self, name: object) -> bool:
        return name in self._loaded()

    def _loaded(self) -> dict[str, T]:
        """All entries, including those of other packages, which are added all or none."""
        group, self._group = self._group, None  # a plug-in may look up names while it loads
        if group is None:
            return self._entries
        try:
            self._entries |= self._plugins(group)
        except SlimmerError:
            self._group = group
            raise
        return self._entries

    def _plugins(self, group: str) -> dict[str, T]:
        found: dict[str, T] = {}
        owners = dict.fromkeys(self._entries, "slimmer")
        for point in sorted(entry_points(group=group), key=lambda each: (each.name, _owner(each))):
            if point.name in owners:
                taken = f"{point.name!r} is also the name of a {self._what} of {owners[point.name]}"
                raise PluginError(
                    _place(point), taken, "rename one of them, or uninstall one of the packages"
                )
            owners[point.name] = _owner(point)
            found[point.name] = self._checked(point)
        return found

    def _checked(self, point: EntryPoint) -> T:
        right = f"fix the package {_owner(point)}, or uninstall it"
        try:
            value = point.load()
        except Exception as error:
            found = f"{point.value!r} can't be loaded: {type(error).__name__}: {first_line(error)}"
            raise PluginError(_place(point), found, right) from error
        if not isinstance(value, self._kind):
            found = f"{point.value!r} is a {type(value).__name__}, not a {self._kind.__name__}"
            raise PluginError(_place(point), found, right)
        own = getattr(value, "name", point.name)
        if own != point.name:
            found = f"{point.value!r} has the name {own!r}, but its entry point is {point.name!r}"
            raise PluginError(_place(point), found, right)
        return cast("T", value)


def _owner(point: EntryPoint) -> str:
    """The package that an entry point comes from, with its version."""
    if not point.dist:
        return "an unknown package"
    return f"{point.dist.name} {point.dist.version}"


def _place(point: EntryPoint) -> str:
    return f"{_owner(point)}, entry point {point.group}:{point.name}"
