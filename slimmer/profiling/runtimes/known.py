"""The registry of runtimes: slimmer's own, and those that installed packages add."""

from collections.abc import Sequence

from slimmer.errors import RecipeError, RuntimeUnavailableError
from slimmer.profiling.runtimes.providers import asked_for
from slimmer.profiling.runtimes.runtime import Runtime
from slimmer.profiling.runtimes.session_options import DEFAULTS, Options
from slimmer.recipe.runtimes import BUILT_IN, GROUP
from slimmer.registry import Registry, load

RUNTIMES: Registry[Runtime] = Registry("runtime", RecipeError, entry_points=GROUP, kind=Runtime)
for _name, _entry in BUILT_IN.items():
    RUNTIMES.add(_name, load(_entry))


def check_runtimes(names: Sequence[str], provider: str, options: Options) -> dict[str, str]:
    """The provider of each runtime, by the runtime's name; nothing is opened.

    Raise RecipeError for an unknown runtime, and RuntimeUnavailableError if a runtime is not
    available or does not have the provider, or if no runtime accepts the `options`.
    """
    entries = [RUNTIMES[name] for name in names]
    for entry in entries:
        reason = entry.unavailable()
        if reason is not None:
            right = "install its requirements, or leave the runtime out"
            raise RuntimeUnavailableError(f"runtime {entry.name}", reason, right)
    found = {entry.name: entry.provider(provider) for entry in entries}
    taking = [entry.name for entry in entries if entry.takes_options]
    for name in taking:
        asked_for(found[name], options)
    if options != DEFAULTS and not taking:
        able = [entry.name for entry in RUNTIMES.values() if entry.takes_options]
        taken = f"{', '.join(names)} takes no such options: {options.told()}"
        right = f"runtime {', '.join(able)}, or leave the options out"
        raise RuntimeUnavailableError("profile options", taken, right)
    return found
