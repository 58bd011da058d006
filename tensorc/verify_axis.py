"""Along which axis causality is examined, at which sizes, and what is said of each output."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tensorc.causality import causality
from tensorc.errors import FormError, TensorcError, VerificationError
from tensorc.ir import Extent, Program
from tensorc.verify_causal import Leak, leaks
from tensorc.verify_digits import MOST_BITS, longest
from tensorc.verify_result import VerifyResult
from tensorc.verify_sizes import MOST_WORK, Work, fit, least_sizes

CAUSALITY = "causality"  # what a result calls it
TOKENS = (5, 3, 2)
MORE_TOKENS = 9  # where the equations say that a token leaks, but none of five did


def causal_axis(program: Program, time: Extent | None) -> Extent | None:
    """The time axis; where a program has none, the axis of an output that most inputs share."""
    if time is not None:
        return time
    counts = {
        axis: sum(axis in d.axes for d in program.inputs)
        for d in program.outputs
        for axis in d.axes
        if len(axis.names) == 1 and axis.coefficient == 1
    }
    shared = {axis: count for axis, count in counts.items() if count}
    most = [axis for axis, count in shared.items() if count == max(shared.values())]
    return most[0] if most else None


def leaking(
    program: Program,
    axis: Extent,
    time: Extent | None,
    given: Mapping[str, int],
    seed: int,
    stop: Callable[[], bool],
) -> dict[str, bool | str]:
    """For each output with the axis: True if no later token changes it, else what leaks.

    Raises `TensorcError` where no sizes are small enough for exact numbers.
    """
    outputs = [d.name for d in program.outputs if axis in d.axes]
    if not outputs:
        return {}
    least = least_sizes(program)
    read = {name: leak for name, leak in causality(program, axis).items() if leak is not True}
    for tokens in (MORE_TOKENS, *TOKENS) if read else TOKENS:
        sizes = {n: max(given.get(n, 2), least.get(n, 0)) for n in program.sizes()}
        sizes |= {n: max(tokens, least.get(n, 0)) for n in axis.names}
        small = fit(Work(program), sizes, MOST_WORK // 10)
        if small is None or axis.value(small) < 2 or longest(program, small) > MOST_BITS:
            continue
        found, samples = leaks(program, axis, small, seed, stop)
        if samples:
            return {n: _verdict(read.get(n), found.get(n), axis == time) for n in outputs}
    raise TensorcError("No sizes are small enough to examine causality.")


def _verdict(read: bool | str | None, seen: Leak | None, stream: bool) -> bool | str:
    """What the equations say and what was seen, in one. Along an axis that is no stream only the latter
    counts."""
    if seen is None:
        return f"{read}; no change was seen" if read and stream else True
    return f"{read}; {seen}" if read else str(seen)


def require_causal(result: VerifyResult) -> None:
    """Raise for an output that is not causal, or where there is no axis to be causal along."""
    if not result.causal and CAUSALITY not in result.not_reached:
        raise FormError(
            f"{result.name} has no time axis along which an output could be causal. "
            'Name it: compile(..., time="n").'
        )
    for name, leak in result.causal.items():
        if leak is not True:
            raise VerificationError(
                f"{name} is not causal: {leak}.\n\n{result.program}\n\n"
                "A domain must leave out every later token, as j <= i does.",
                result,
            )
