"""Why a form does not exist, in terms of the program: what it reads too early, or which axis is open."""

from __future__ import annotations

from tensorc.ir import Extent, FloorDiv, Mod, Program, Reduce, Softmax, conjuncts, free_indices, walk
from tensorc.passes.linear import NotLinear
from tensorc.printing import print_cond


def reads_later(program: Program, time: Extent) -> NotLinear | None:
    """The first read of a later token that reaches an output, or an output that is a total over all tokens;
    None where there is neither."""
    from tensorc.causality import leaks
    from tensorc.differences import TooLarge

    try:
        found = leaks(program, time)
    except TooLarge:
        return None
    leak = next((leak for leak in found.values() if leak is not None and leak.here is not None), None)
    if leak is None:
        total = next((o for o in program.outputs if time not in o.axes), None)
        if total is None or len(found) == 0:
            return None
        reason = f"the output {total.name} has no axis {time}: it is a total over all tokens"
        return NotLinear(reason, "use form='chunkwise'", None)
    left = ", ".join(bind.name for bind in program.equation(leak.output).left)
    index = leak.index
    bound = f"bound {index}, e.g. {index} <= {leak.here}," if index.isidentifier() else "read earlier"
    reason = f"{leak.output}[{left}] reads {leak.read} for {index} > {leak.here}"
    quotients = _with_quotients(program, index)
    if quotients is not None:
        reason = (
            f"{leak.output}[{left}] may read {leak.read} for {index} > {leak.here}: {quotients} is no bound"
        )
        bound = f"write {index} <= {leak.here} beside it, if that holds,"
    return NotLinear(reason, f"{bound} or use form='parallel'", leak.line)


def _with_quotients(program: Program, index: str) -> str | None:
    """A comparison of an index by quotients or remainders, which bounds are not read off, where it has no
    other."""
    for equation in program.equations:
        for node in walk(equation.body):
            domain = conjuncts(node.domain) if isinstance(node, Reduce | Softmax) else ()
            about = [c for c in domain if index in free_indices(c)]
            unread = [c for c in about if any(isinstance(part, FloorDiv | Mod) for part in walk(c))]
            if unread and len(unread) == len(about):
                return print_cond(unread[0])
    return None


def no_time_axis(program: Program, form: str) -> NotLinear:
    """Why a program whose time axis is not known has no recurrent or chunkwise form."""
    from tensorc.passes.streams import streams

    several = [str(extent) for extent in streams(program)]
    if len(several) == 1:
        reason = f"its tokens would run along {several[0]}, a product of sizes"
        return NotLinear(reason, "give that axis one name in the signature", None)
    if several:
        names = f"{', '.join(several[:-1])} and {several[-1]}"
        change = f"choose: compile(..., time={several[0]!r})"
        return NotLinear(f"{names} may each be the time axis", change, None)
    axes = program.outputs[0].axes
    likely = [axis for axis in axes[:-1] or axes if len(axis.names) == 1]
    if form == "recurrent":
        for axis in likely:
            if axis.coefficient == 1 and (later := reads_later(program, axis)) is not None:
                return NotLinear(f"it has no time axis: {later.reason}", later.change, later.line)
    example = next((axis.names[0] for axis in likely), "n")
    return NotLinear(
        "it has no time axis: no positions of one axis are compared",
        f"relate its indices, e.g. j <= i, or name the axis: compile(..., time={example!r})",
        None,
    )
