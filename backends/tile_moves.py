"""Steps that move rows, as addresses in memory: loads, caches, shifts, columns, reads at computed places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorc.backends.tile_io import needed
from tensorc.backends.tile_kernel import (
    Cache,
    Fetch,
    Kept,
    Lane,
    Listed,
    Place,
    Put,
    Row,
    Subscript,
    TileStep,
    Weights,
)
from tensorc.errors import BackendError
from tensorc.ir import Expr, Extent, Index, Mul, Read
from tensorc.plan import (
    ROW,
    Append,
    Delay,
    Gather,
    Keep,
    Load,
    Loop,
    Map,
    Monomials,
    Plan,
    Recur,
    Ref,
    Select,
    State,
    Step,
    Stream,
    Tail,
    Update,
)
from tensorc.plan_io import step_outputs


@dataclass(frozen=True, slots=True)
class Stored:
    """A value that lies in memory: its tensor and the labels of that tensor's axes, as the value was made.
    `value` is what is stored there."""

    tensor: str
    axes: tuple[str, ...]
    value: str = ""


def left_by(state: State) -> str:
    """What a state is called as a tensor in memory, after the loop that advances it."""
    return f"{state.name.lstrip('%')}_last"


def after(state: State) -> str:
    """What a state is called as a tensor in memory that one token alone is added to."""
    return f"{state.name.lstrip('%')}_new"


class Moves:
    """Lowers the steps of one loop. `made` are values that a kernel must store, by name; `caches` and `kept`
    the states that lie in memory."""

    def __init__(self, plan: Plan, loop: Loop, tokens: bool) -> None:
        self.plan, self.tokens = plan, tokens
        self.states = {s.name: s for s in loop.states}
        self.stored: dict[str, Stored] = {}
        self.made: dict[str, Stored] = {}
        self.caches: list[Cache] = []
        self.kept: list[Kept] = []
        self.powers: dict[str, tuple[str, ...]] = {}
        self.axes: dict[str, tuple[str, ...]] = {}
        self.extents = dict(plan.extents)
        steps = [*loop.before, *loop.setup, *loop.body]
        makers = {r.value: s for s in steps for r in step_outputs(s)}
        self.tails = {
            s.state.value: s
            for s in steps
            if isinstance(s, Tail) and (not tokens or isinstance(makers.get(s.source.value), Load))
        }

    def lower(self, step: Step) -> list[TileStep]:
        """The steps of a kernel for a step of the plan."""
        for ref in step_outputs(step):
            self.axes[ref.value] = ref.axes
        match step:
            case Load():
                return self._load(step)
            case Select():
                return self._select(step)
            case Gather():
                return [self._gather(step)]
            case Delay(state=state) if state.value in self.tails:
                return [self._delay(step)]
            case Monomials():
                return self._monomials(step)
            case Append():
                self._append(step)
                return []
            case Tail(state=state) if state.value in self.tails:
                self._tail(step)
                return []
            case Keep(tensor=tensor, value=value, axes=axes):
                return [Put(tensor, value, self._rows(step, axes), step.why)]
            case Update(state=state) if self.states[state.value].grows or state.value in self.tails:
                return []
            case Stream(columns=columns, running=running, steps=steps):
                inner = needed(
                    [s for part in steps for s in self.lower(part)], {r.ref.value for r in running}
                )
                return [Stream(columns, running, inner, step.why)]  # type: ignore[arg-type]
            case Recur():
                raise self._refusal("it is a recurrence over positions that no loop runs over")
        return [step]

    def _refusal(self, reason: str) -> BackendError:
        return BackendError(
            f"{self.plan.program} has no Triton kernel: {reason}. Compile with backend='torch'."
        )

    # -- what lies in memory -------------------------------------------------------------------------------

    def memory(self, ref: Ref) -> Stored:
        """Where a value lies, under the labels of a reference; it is stored if it lies nowhere."""
        found = self.stored.get(ref.value)
        state = next((s for s in self.plan.states if s.name == ref.value), None)
        if state is not None:
            if state.name in self.states:
                raise self._refusal("a state is read at computed places in the loop that advances it")
            found = Stored(left_by(state), state.axes)
        elif found is None:
            if self.tokens:
                raise self._refusal("a value of earlier tokens is computed from others, token by token")
            made = self.axes[ref.value]
            found = Stored(f"{ref.value.lstrip('$%')}_rows", made, ref.value)
            self.made[ref.value] = self.stored[ref.value] = found
        own = [a for a in found.axes if not (self.tokens and a == ROW)]
        names = dict(zip(own, ref.axes, strict=True))
        return Stored(found.tensor, tuple(names.get(a, a) for a in found.axes), found.value)

    def _rows(self, step: Keep, axes: tuple[str, ...]) -> tuple[Subscript, ...]:
        """Where an output goes. Token by token its time axis is the one that the declaration has."""
        subscripts: list[Subscript] = [Row() if a == ROW else Lane(a) for a in axes]
        if self.tokens:
            declared = dict(self.plan.tensors)[step.tensor]
            assert self.plan.time is not None
            subscripts.insert(declared.index(self.plan.time), Row())
        return tuple(subscripts)

    def _load(self, step: Load) -> list[TileStep]:
        axes, out = step.out.axes, step.out
        if step.time is not None:
            after = axes[step.time :] if self.tokens else axes[step.time + 1 :]
            axes = (*axes[: step.time], ROW, *after)
            out = out if self.tokens else Ref(out.value, axes)
        self.axes[out.value] = out.axes
        self.stored[out.value] = Stored(step.tensor, axes)
        subscripts = tuple(Row() if a == ROW else Lane(a) for a in axes)
        return [Fetch(out, step.tensor, subscripts, why=step.why)]

    def _select(self, step: Select) -> list[TileStep]:
        source = self.memory(step.source)
        self.stored[step.out.value] = Stored(source.tensor, step.out.axes)
        subscripts = tuple(Lane(a) for a in step.out.axes)
        return [Fetch(step.out, source.tensor, subscripts, why=step.why)]

    def _gather(self, step: Gather) -> Fetch:
        source = self.memory(step.source)
        extents = self._extents(source)
        given = iter(step.subscripts)
        subscripts = tuple(
            Row() if self._token(a) else self._subscript(next(given), a, extent)
            for a, extent in zip(source.axes, extents, strict=True)
        )
        return Fetch(step.out, source.tensor, subscripts, why=step.why)

    def _extents(self, source: Stored) -> Sequence[Extent | None]:
        """The extents of a tensor in memory; None for that of the tokens in a cache."""
        declared = dict(self.plan.tensors).get(source.tensor)
        if declared is not None:
            return declared
        known = {left_by(s): s.axes for s in self.plan.states} | {k.value: k.axes for k in self.plan.kept}
        known |= {c.tensor: c.state.axes for c in self.caches}
        labels = known.get(source.tensor) or self.axes.get(source.value, source.axes)
        return [self.extents.get(a) for a in labels]

    def _subscript(self, expr: Expr, axis: str, extent: Extent | None) -> Subscript:
        if isinstance(expr, Index) and expr.name == ROW == axis:
            return Row()
        if isinstance(expr, Index) and (expr.name == axis or self._extent(expr.name) == extent):
            return Lane(expr.name)
        if axis == ROW:
            raise self._refusal("rows of a chunk are read at computed places")
        if extent is None:
            raise self._refusal("tokens are read at computed places")
        return Place(expr, extent)

    def _extent(self, label: str) -> Extent | str:
        """The extent of a label; of tokens a word, which is no extent."""
        return self.extents.get(label, label)

    # -- states of rows ------------------------------------------------------------------------------------

    def _append(self, step: Append) -> None:
        """A cache: its rows and those of a tensor in memory, which is put after them before the launch."""
        state = self.states[step.state.value]
        source = self.memory(step.rows)
        tensor = f"{state.name.lstrip('%')}_cache"
        features = step.state.axes[1:]
        order = tuple(source.axes.index(a) for a in (ROW, *features))
        self.caches.append(Cache(tensor, state, source.tensor, order))
        self.stored[step.out.value] = Stored(tensor, step.out.axes)

    def _delay(self, step: Delay) -> Fetch:
        source = step.source
        if source is None:
            source = self.tails[step.state.value].source
            names = dict(zip(step.state.axes[1:], self.tails[step.state.value].state.axes[1:], strict=True))
            back = {theirs: mine for mine, theirs in names.items()}
            source = source.relabel(back)
        stored = self.memory(source)
        subscripts = tuple(Row(step.lag) if a == ROW else Lane(a) for a in stored.axes)
        order = tuple(stored.axes.index(a) for a in step.state.axes[1:])
        return Fetch(step.out, stored.tensor, subscripts, step.state.value, order, step.why)

    def _tail(self, step: Tail) -> None:
        stored = self.memory(step.source)
        order = tuple(stored.axes.index(a) for a in (ROW, *step.state.axes[1:]))
        self.kept.append(Kept(self.states[step.state.value], stored.tensor, order))

    # -- symmetric powers ----------------------------------------------------------------------------------

    def _monomials(self, step: Monomials) -> list[TileStep]:
        """The elements of each product, read from memory at the places that a table lists, multiplied."""
        base = self.memory(step.factor)
        fetches: list[TileStep] = []
        factors: list[Expr] = []
        for element in range(step.power):
            subscripts = tuple(
                Row() if a == ROW else Listed(step.label, step.power, element) if a == step.last else Lane(a)
                for a in base.axes
            )
            axes = tuple(step.label if a == step.last else a for a in base.axes if not self._token(a))
            out = Ref(f"{step.out.value}:{element}", axes)
            fetches.append(Fetch(out, base.tensor, subscripts, why=step.why))
            factors.append(Read(out.value, tuple(Index(a) for a in axes)))
        if step.weighted:
            out = Ref(f"{step.out.value}:weights", (step.label,))
            fetches.append(Weights(out, step.power, step.why))
            factors.append(Read(out.value, (Index(step.label),)))
        return [*fetches, Map(step.out, Mul(tuple(factors)), step.why)]

    def _token(self, axis: str) -> bool:
        return self.tokens and axis == ROW
