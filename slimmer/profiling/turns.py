"""How long the turns of networks are that are timed in alternation."""

from dataclasses import dataclass

# After its last run, a session's threads spin for some milliseconds on the cores that the next
# session needs, and the next session's weights are no longer in the cache. So each turn starts with
# unrecorded runs for this long, at least one. A long run is hardly affected, and an unrecorded one
# would double its time, so it has none.
LEAD_IN_NS = 20_000_000
TURN_NS = 100_000_000  # length of a turn, if that is longer than two runs
LONG_RUN_NS = 2_000_000_000
WARM_LEAST = 5  # fewest windows of the warm-up, each a fifth of a block


@dataclass(frozen=True)
class Turns:
    """The least length of a turn in a block, and of the unrecorded runs before it, in nanoseconds.

    Shorter turns share disturbances more evenly, but suit only sessions of one thread. A turn of a
    network whose runs take `long_run_ns` or more is one run, without an unrecorded one, and its
    warm-up has at least `long_warm_up` windows.
    """

    turn_ns: int = TURN_NS
    lead_in_ns: int = LEAD_IN_NS
    long_run_ns: int = LONG_RUN_NS
    long_warm_up: int = WARM_LEAST


LONG_TURNS = Turns()
