"""How long the turns of networks are that are timed in alternation."""

from dataclasses import dataclass

# After its last run, a session's threads spin for some milliseconds on the cores that the next
# session needs, and the next session's weights are no longer in the cache. So each turn starts with
# unrecorded runs for this long, at least one. A run of two seconds is hardly affected, and an
# unrecorded one would double its time, so it has none.
LEAD_IN_NS = 20_000_000
TURN_NS = 100_000_000  # length of a turn, if that is longer than two runs


@dataclass(frozen=True)
class Turns:
    """The least length of a turn in a block, and of the unrecorded runs before it, in nanoseconds.

    Shorter turns share disturbances more evenly, but suit only sessions of one thread.
    """

    turn_ns: int = TURN_NS
    lead_in_ns: int = LEAD_IN_NS


LONG_TURNS = Turns()
