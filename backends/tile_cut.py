"""Cuts a loop of a plan into kernels.

Steps that only move rows (a cache, a shift, a read at computed places, the columns of a stream) become
addresses: what they read must lie in memory. A value that does not is stored by a kernel of its own, and
computed again by no later one. Every kernel is the slice of the loop that its results need; states that the
slice reads are carried, with the slice that advances them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tensorc.backends.tile_anchor import anchored
from tensorc.backends.tile_groups import grouped, state_groups
from tensorc.backends.tile_io import tile_inputs, tile_outputs, tile_tensors
from tensorc.backends.tile_kernel import (
    Cut,
    Kernel,
    Lane,
    Launch,
    Put,
    Recall,
    Row,
    Rows,
    Subscript,
    TileStep,
)
from tensorc.backends.tile_loops import result_features
from tensorc.backends.tile_moves import Moves, Stored, after
from tensorc.errors import BackendError
from tensorc.plan import (
    ROW,
    Contract,
    Loop,
    Plan,
    Ref,
    State,
    Step,
    Update,
)
from tensorc.plan_io import step_inputs, step_outputs

ROUNDS = 16  # of values in memory that depend on each other


class Cutter:
    """Cuts one loop. `tokens`: its steps are those of one token, without a label of rows."""

    def __init__(self, plan: Plan, loop: Loop, number: int, name: str) -> None:
        self.plan, self.loop, self.name = plan, loop, name
        self.tokens = plan.form == "recurrent"
        self.suffix = str(number + 1) if len(plan.loops) > 1 else ""
        self.moves = Moves(plan, loop, self.tokens)
        self.steps: list[TileStep] = []
        earlier = [s for other in plan.loops[:number] for s in other.before]
        self.lower([*earlier, *loop.before, *loop.setup, *loop.body])

    # -- steps -------------------------------------------------------------------------------------------

    def lower(self, steps: Iterable[Step]) -> None:
        """Take the steps, those that move rows as reads of memory."""
        seen: set[str] = set()
        for step in steps:
            outs = {r.value for r in step_outputs(step)}
            if not outs or not outs <= seen:  # what several loops make is made once
                self.steps += self.moves.lower(step)
            seen |= outs
        self.steps = multiplied(anchored(self.steps))

    def cut(self) -> Cut:
        """The kernels of the loop."""
        moves = self.moves
        levels = self._levels()
        launches, rows = [], []
        for level in range(1 + max(levels.values(), default=0)):
            mine = [s for name, s in moves.made.items() if levels.get(name, 0) == level]
            puts = [Put(s.tensor, Ref(s.value, s.axes), _subscripts(s.axes)) for s in mine]
            if puts:
                launches.append(self._launch(f"{self._word(mine)}_rows", puts, False))
                rows += [Rows(s.tensor, Ref(s.value, s.axes)) for s in mine]
        keeps = [s for s in self.steps if isinstance(s, Put)]
        last = self._launch("", keeps, True)
        if keeps or last.whole.carried:
            launches.append(last)
        return Cut(tuple(launches), tuple(rows), tuple(moves.caches), tuple(moves.kept), self._states())

    def _word(self, stored: Sequence[Stored]) -> str:
        return stored[0].tensor.removesuffix("_rows")

    def _states(self) -> tuple[State, ...]:
        """The states that kernels carry."""
        elsewhere = {c.state.name for c in self.moves.caches} | {k.state.name for k in self.moves.kept}
        return tuple(s for s in self.loop.states if s.name not in elsewhere)

    def _levels(self) -> dict[str, int]:
        """For each value that is to lie in memory, after how many others it can be computed."""
        memory = {s.tensor: name for name, s in self.moves.made.items()}
        memory |= {c.tensor: memory[c.source] for c in self.moves.caches if c.source in memory}
        level = dict.fromkeys(self.moves.made, 0)
        for _ in range(ROUNDS):
            before = dict(level)
            for name in level:
                steps, _ = self._slice([name])
                needs = [level[memory[t]] + 1 for s in steps for t in tile_tensors(s) if t in memory]
                level[name] = max([level[name], *needs])
            if level == before:
                return level
        raise BackendError(
            f"{self.plan.program} has no Triton kernel: a value that is read at other rows depends on itself "
            "by way of such a read. Compile with backend='torch'."
        )

    # -- slices ------------------------------------------------------------------------------------------

    def _slice(
        self, targets: Iterable[str], updates: bool = True
    ) -> tuple[list[TileStep], tuple[State, ...]]:
        """The steps that values and states need, in order, and the states they read."""
        makers = {ref.value: step for step in self.steps for ref in tile_outputs(step)}
        advance: dict[str, list[Update]] = {}
        for step in self.steps:
            if isinstance(step, Update):
                advance.setdefault(step.state.value, []).append(step)
        states = {s.name: s for s in self._states()}
        needed: set[int] = set()
        read: set[str] = set()
        pending = list(targets)
        while pending:
            value = pending.pop()
            if value in states:
                if value in read:
                    continue
                read.add(value)
                found: list[TileStep] = list(advance.get(value, ())) if updates else []
            else:
                found = [makers[value]] if value in makers else []
            for step in found:
                if id(step) not in needed:
                    needed.add(id(step))
                    pending += [r.value for r in tile_inputs(step)]
        steps = [s for s in self.steps if id(s) in needed]
        return steps, tuple(s for name, s in states.items() if name in read)

    def _launch(self, word: str, puts: Sequence[Put], finals: bool) -> Launch:
        """What stores these values (and, the last one, the final states)."""
        name = "_".join(part for part in (self.name, self.suffix, word) if part)
        targets = [p.value.value for p in puts]
        all_states = [s.name for s in self._states()] if finals else []
        steps, carried = self._slice([*targets, *all_states])
        order = "tokens" if self.tokens else "serial" if carried else "chunks"
        own = self._ordered(steps, puts)
        given = self._given(own)
        whole = Kernel(f"{name}_kernel", order, self.loop.reverse, carried, own, given, finals=finals)
        if order == "tokens":
            return Launch(whole, tuple(self._token_kernels(name, puts)) if finals else ())
        _, read = self._slice(targets, updates=False)
        states = self._state_kernels(name, [s.name for s in (carried if finals else read)], finals)
        return Launch(whole, (*states, *self._read_kernels(name, puts)))

    def _state_kernels(self, name: str, wanted: Sequence[str], finals: bool) -> list[Kernel]:
        """Kernels that compute states in the order of time, those that depend on each other and those of no
        other features together; what they read of other states they take from memory."""
        advance, carried = self._slice(wanted)
        updates: dict[str, list[Update]] = {s.name: [] for s in carried}
        for step in advance:
            if isinstance(step, Update):
                updates[step.state.value].append(step)
        own = {
            name: self._slice([r.value for u in every for r in step_inputs(u)], False)
            for name, every in updates.items()
        }

        def kernel(group: Sequence[str], title: str = "") -> Kernel:
            mine = tuple(s for s in carried if s.name in group)
            reads = [s for s in carried if s.name not in group and any(s in own[n][1] for n in group)]
            needed = {id(s) for n in group for s in (*own[n][0], *updates[n])}
            steps = [s for s in advance if id(s) in needed]
            recalls = [Recall(Ref(s.name, s.axes), "all") for s in reads] + self._recalled(steps)
            reverse, every = self.loop.reverse, (*recalls, *steps)
            return Kernel(title, "serial", reverse, mine, every, saves=True, finals=finals, narrow=True)

        reads = {n: [r.name for r in states] for n, (_, states) in own.items()}
        groups = state_groups(reads, lambda names: result_features(kernel(names)))
        return [kernel(group, _numbered(f"{name}_states", k, groups)) for k, group in enumerate(groups)]

    def _read_kernels(self, name: str, puts: Sequence[Put]) -> list[Kernel]:
        """Kernels that store results for all chunks at once, those of the same features together."""
        return self._apart(f"{name}_reads", "chunks", "all", puts)

    def _token_kernels(self, name: str, puts: Sequence[Put]) -> list[Kernel]:
        """Kernels for one token alone: tiles of states go from memory to memory, not all at once."""
        updates = {s.state.value: s for s in self.steps if isinstance(s, Update)}
        every = list(puts)
        for state in self._states():
            update = updates[state.name]
            if not update.replace or set(update.addend.axes) != set(update.state.axes):
                return []
            lanes = tuple(Lane(a) for a in update.state.axes)
            every.append(Put(after(state), update.addend, lanes, update.why))
        return self._apart(f"{name}_token", "tokens", "in", every)

    def _apart(self, name: str, order: str, which: str, puts: Sequence[Put]) -> list[Kernel]:
        """Kernels that take states from memory, one for the results of the same features."""

        def kernel(group: Sequence[str], title: str = "") -> Kernel:
            mine = [p for p in puts if p.tensor in group]
            steps, read = self._slice([p.value.value for p in mine], updates=False)
            recalls = [Recall(Ref(s.name, s.axes), which) for s in read] + self._recalled(steps)
            every = (*recalls, *self._ordered(steps, mine))
            return Kernel(title, order, self.loop.reverse, (), every, narrow=True)

        groups = grouped([p.tensor for p in puts], lambda names: result_features(kernel(names)))
        return [kernel(group, _numbered(name, k, groups)) for k, group in enumerate(groups)]

    def _recalled(self, steps: Iterable[TileStep]) -> list[Recall]:
        return [Recall(Ref(s.name, s.axes), "in") for s in self._given(steps)]

    def _given(self, steps: Iterable[TileStep]) -> tuple[State, ...]:
        """The states of earlier loops that steps read."""
        return states_read(steps, [s for s in self.plan.states if s not in self.loop.states])

    def _ordered(self, steps: Sequence[TileStep], puts: Sequence[Put]) -> tuple[TileStep, ...]:
        """The steps with what they store: updates of states last, as all reads come before them."""
        updates = [s for s in steps if isinstance(s, Update)]
        return (*(s for s in steps if not isinstance(s, Update | Put)), *puts, *updates)


def multiplied(steps: Sequence[TileStep]) -> list[TileStep]:
    """The steps, with sums of products of two values as matrix products: no tile holds the products."""
    products = {s.out.value: s for s in steps if isinstance(s, Contract)}
    result: list[TileStep] = []
    for step in steps:
        if isinstance(step, Contract) and step.right is None:
            step = _multiplied(step, products.get(step.left.value))
        result.append(step)
    return result


def _multiplied(step: Contract, inner: Contract | None) -> Contract:
    if inner is None or inner.right is None or step.semiring != inner.semiring:
        return step
    if {*inner.left.axes, *inner.right.axes} != set(inner.out.axes):
        return step
    names = dict(zip(inner.out.axes, step.left.axes, strict=True))
    left, right = inner.left.relabel(names), inner.right.relabel(names)
    return Contract(step.out, left, right, step.why, step.semiring)


def states_read(steps: Iterable[TileStep], states: Iterable[State]) -> tuple[State, ...]:
    """Those of some states that steps read."""
    read = {r.value for s in steps for r in tile_inputs(s)}
    return tuple(s for s in states if s.name in read)


def cut_end(plan: Plan, name: str) -> Kernel | None:
    """The kernel for outputs that no loop stores: made once of what the loops leave."""
    ends = [(output, ref) for output, ref in plan.outputs if output not in plan.stored]
    if not ends:
        return None
    steps: list[TileStep] = []
    for loop in plan.loops:
        moves = Moves(plan, Loop(False, (), (), (), ()), False)
        steps += [s for step in loop.before for s in moves.lower(step)]
    moves = Moves(plan, Loop(False, (), (), (), ()), False)
    steps += [s for step in plan.epilogue for s in moves.lower(step)]
    makers: dict[str, TileStep] = {}
    for step in steps:
        for ref in tile_outputs(step):
            makers.setdefault(ref.value, step)
    needed: set[int] = set()
    pending = [ref.value for _, ref in ends]
    while pending:
        maker = makers.get(pending.pop())
        if maker is not None and id(maker) not in needed:
            needed.add(id(maker))
            pending += [r.value for r in tile_inputs(maker)]
    order = {f"#{k}": k for k in range(16)}
    puts = [
        Put(output, ref, tuple(Lane(a) for a in sorted(ref.axes, key=lambda a: order[a])))
        for output, ref in ends
    ]
    every = (*(s for s in steps if id(s) in needed), *puts)
    recalls = (Recall(Ref(s.name, s.axes), "in") for s in states_read(every, plan.states))
    return Kernel(f"{name}_end", "once", False, (), (*recalls, *every), narrow=True)


def _numbered(name: str, number: int, groups: Sequence[object]) -> str:
    return f"{name}{number + 1}" if len(groups) > 1 else name


def _subscripts(axes: Sequence[str]) -> tuple[Subscript, ...]:
    return tuple(Row() if a == ROW else Lane(a) for a in axes)


def cut(plan: Plan, number: int, name: str) -> Cut:
    """The kernels of loop `number` of a plan; `name` is what they are called after.

    Raises `BackendError` for a loop with a step that no kernel can do.
    """
    return Cutter(plan, plan.loops[number], number, name).cut()
