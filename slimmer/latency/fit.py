"""The fit of a latency: the time of every class of nodes as a function of its channels."""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from slimmer.costs.cost import Floats
from slimmer.costs.latency import LatencyForm, Widths, features, filled, is_small
from slimmer.latency.common_nodes import Axes, CommonNode, Observed, common_nodes

STEPS = (16, 8, 1, 32)  # the sizes of blocks that are tried; the first good one is taken
GOOD = 1.1  # times the smallest error
LEAST_CONSTANT = 0.02  # of the mean latency, where the constant of all nodes starts
STIFF = 0.05  # how much the latencies may change the fit to node times

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted form, the names of its nodes, and the relative errors for the networks that it was
    fitted to.
    """

    form: LatencyForm
    names: tuple[str, ...]
    errors: Floats

    @property
    def error(self) -> float:
        """The mean relative error."""
        return float(np.abs(self.errors).mean())


def fitted(observed: Sequence[Observed], members: Floats, rest: Floats) -> Fit:
    """The fit to measured networks, the first of which is dense.

    `members` @ widths + `rest` are the widths of the axes of the network. Each class of nodes (an
    operation with the same kernel, image size and inputs) gets non-negative coefficients from the
    node times; then each coefficient is multiplied by a factor near 1, so that the sums agree with
    the measured latencies. The size of blocks is the largest with nearly the smallest error.
    """
    table = Axes(observed, members, rest)
    nodes = common_nodes(observed, table)
    fits = [_fitted_with(step, nodes, observed, table) for step in STEPS]
    least = min(fit.error for fit in fits)
    return next(fit for fit in fits if fit.error <= GOOD * least)


def _fitted_with(
    step: int, nodes: Sequence[CommonNode], observed: Sequence[Observed], table: Axes
) -> Fit:
    """The fit with blocks of `step` channels.

    Classes are fitted apart where nodes are given less than a block; a class that never is gets
    the same coefficients there.
    """
    small = np.array([is_small(node.channels[:, 2], step) for node in nodes])
    of_kind: dict[Hashable, list[int]] = defaultdict(list)
    for number, node in enumerate(nodes):
        of_kind[node.kind].append(number)
    members = list(of_kind.values())
    both = np.zeros((2, len(nodes), 4))
    for same in members:
        both[:, same] = _of_class([nodes[number] for number in same], small[same], step)[:, None]
    axes = [
        _widths(rows, table.groups) for rows in zip(*(node.axes for node in nodes), strict=True)
    ]
    measured = np.array([each.ns for each in observed])
    parts = _parts(
        axes, both, small, [np.array(each.widths, dtype=np.float64) for each in observed], step
    )
    factors, constant = _factors(parts, members, measured)
    weights = both * factors
    form = LatencyForm(axes[0], axes[1], axes[2], weights[0], weights[1], constant, step)
    sums = [form.value(np.array(each.widths, dtype=np.float64)) for each in observed]
    return Fit(form, tuple(node.name for node in nodes), np.array(sums) / measured - 1)


def _parts(
    axes: Sequence[Widths], both: Floats, small: Flags, widths: Sequence[Floats], step: int
) -> Floats:
    """The nanoseconds of every coefficient of `both` (2, nodes, 4) in every network, as
    (networks, 2, nodes, 4).
    """
    found = []
    for number, each in enumerate(widths):
        makes, reads, enters = (filled(axis.at(each), step) for axis in axes)
        times = both * features(makes, reads, enters)
        found.append(times * np.stack([~small[:, number], small[:, number]])[:, :, None])
    return np.array(found)


def _of_class(nodes: Sequence[CommonNode], small: Flags, step: int) -> Floats:
    """The coefficients (2, 4) of a class, for a block or more and for less."""
    found = np.zeros((2, 4))
    for row, chosen in enumerate((~small, small)):
        if chosen.any():
            channels = np.concatenate(
                [node.channels[here] for node, here in zip(nodes, chosen, strict=True)]
            )
            times = np.concatenate(
                [node.ns[here] for node, here in zip(nodes, chosen, strict=True)]
            )
            makes, reads, enters = filled(channels, step).T
            found[row] = _non_negative(features(makes, reads, enters), times)
    for row, other in ((0, 1), (1, 0)):
        if not (found[row]).any():
            found[row] = found[other]
    return found


def _factors(
    parts: Floats, members: Sequence[Sequence[int]], measured: Floats
) -> tuple[Floats, float]:
    """The factors (2, nodes, 4) of coefficients, and a constant, none negative, with which the sums
    of `parts` (networks, 2, nodes, 4) agree best with the measured latencies.

    Factors are equal within a class, and those of coefficients that take much of the time are held
    near a common one.
    """
    scale, constant = _line(parts.sum(axis=(1, 2, 3)), measured)
    constant = max(constant, LEAST_CONSTANT * float(measured.mean()))
    of_class = np.stack([parts[:, :, same].sum(axis=2) for same in members], axis=2)
    columns = [np.full((len(measured), 1), constant)]
    columns.append(scale * of_class.reshape(len(measured), -1))
    table = np.concatenate(columns, axis=1)
    share = table.mean(axis=0) / measured.mean()
    near = np.sqrt(STIFF * share)
    rows = np.concatenate([table / measured[:, None], np.diag(near)])
    found, _ = nnls(rows, np.concatenate([np.ones(len(measured)), near]))
    used = np.where(share > 0, found, 1.0)[1:].reshape(2, len(members), 4)
    factors = np.zeros(parts.shape[1:])
    for number, same in enumerate(members):
        factors[:, same] = scale * used[:, number][:, None]
    return factors, float(constant * found[0])


def _widths(rows: Sequence[Floats], groups: int) -> Widths:
    whole = np.array(rows, dtype=np.float64).reshape(-1, groups + 1)
    return Widths(whole[:, :-1], whole[:, -1])


def _line(sums: Floats, measured: Floats) -> tuple[float, float]:
    """The scale and constant, neither negative, of the measured latencies over the sums."""
    scale, constant = _non_negative(np.stack([sums, np.ones_like(sums)], axis=1), measured)
    return float(scale), float(constant)


def _non_negative(features: Floats, times: Floats) -> Floats:
    """The non-negative least-squares coefficients, with relative errors and scaled columns."""
    weight = 1 / np.maximum(times, max(times.max() / 100, 1e-9))
    rows = features * weight[:, None]
    scale = np.maximum(np.abs(rows).max(axis=0), 1e-30)
    found, _ = nnls(rows / scale, times * weight)
    coefficients: Floats = found / scale
    return coefficients


def named_times(fit: Fit, widths: Sequence[int]) -> Mapping[str, float]:
    """The fitted nanoseconds of every node at `widths`."""
    times = fit.form.by_node(np.asarray(widths, dtype=np.float64))
    return dict(zip(fit.names, times.tolist(), strict=True))
