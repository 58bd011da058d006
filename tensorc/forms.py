"""The forms of a program: which exist, their plans and sources, and which is cheapest where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from tensorc.backends.numpy_source import numpy_source, required_sizes
from tensorc.backends.python_base import ANY, Batch
from tensorc.backends.python_names import Names
from tensorc.cost import best_chunk, plan_time
from tensorc.errors import FormError
from tensorc.ir import Add, Extent, Node, Pow, Program, Reduce, Where, children, walk
from tensorc.passes.absence import no_time_axis, reads_later
from tensorc.passes.columns import column_extents
from tensorc.passes.pipeline import (
    Graph,
    Log,
    NotLinear,
    chunkwise_plan,
    fold_rows,
    parallel_plan,
    recurrent_plan,
    stage_graph,
)
from tensorc.plan import Plan
from tensorc.prepared import with_keywords
from tensorc.runtime import load

Function = Callable[..., Any]
Printer = Callable[..., str]  # program, plan, what is known of the batch dimensions: the source of a plan
CHUNK = 64  # the chunk that plans are first made for
LENGTH, FEATURES = 4096, 64
LARGEST = 2**40  # plans of features that are larger than this are the same


class Forms:
    """Plans of a program by form and sizes. The sizes of features are part of the key; the length of the
    time axis is too for the parallel form alone, rounded to a power of two."""

    sums = True  # whether windows may be sums of whole chunks, or bands of pairs alone

    def __init__(
        self,
        program: Program,
        time: Extent | None,
        sizes: Mapping[str, int],
        printer: Printer = numpy_source,
    ) -> None:
        self.program, self.time, self.given, self.printer = program, time, dict(sizes), printer
        self.log = Log()
        self._plans: dict[object, Plan | NotLinear] = {}
        self._graphs: dict[object, Graph | NotLinear] = {}
        self._chosen: dict[object, str] = {}
        self._polynomials = _has_polynomials(program)
        self._functions: dict[object, tuple[dict[str, Function], Plan, dict[str, str]]] = {}

    @cached_property
    def rows(self) -> Extent | None:
        """What chunks are made of: the time axis; without one, the rows of a fold."""
        return self.time if self.time is not None else fold_rows(self.program)

    # -- which exist -----------------------------------------------------------------------------------

    def exists(self, form: str) -> bool:
        """Whether the program has a form."""
        return form == "parallel" or not isinstance(self._linear(form, self.example_sizes({})), NotLinear)

    def streams(self) -> bool:
        """Whether the program has a state between tokens."""
        return self.exists("recurrent")

    def require(self, form: str) -> None:
        """Raise `FormError`, with the reason, for a form that the program does not have."""
        found = self.why_not(form)
        if found is None:
            return
        line = f" (line {found.line})" if found.line else ""
        raise FormError(
            f"No {form} form of {self.program.name}: {found.reason}{line}. {_sentence(found.change)}"
        )

    def why_not(self, form: str) -> NotLinear | None:
        """Why a form does not exist; None if it does."""
        if form == "parallel":
            return None
        found = self._linear(form, self.example_sizes({}))
        return found if isinstance(found, NotLinear) else None

    def example_sizes(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Sizes for a report: those given, then the program's own, then usual ones."""
        from tensorc.binding_sizes import check_sizes

        known = check_sizes(sizes, frozenset(self.program.sizes())) if sizes else {}
        streams = self._lengths()
        usual = {n: LENGTH if n in streams else FEATURES for n in self.program.sizes()}
        return usual | dict(self.program.defaults) | self.given | known

    def _lengths(self) -> tuple[str, ...]:
        """The sizes that are lengths: of the rows, and of columns that they meet in pairs."""
        if self.rows is None:
            return ()
        columns = column_extents(self.program, self.rows)
        return (*self.rows.names, *(n for e in columns for n in e.names))

    # -- plans -----------------------------------------------------------------------------------------

    def plan(self, form: str, sizes: Mapping[str, int]) -> Plan:
        """The plan of a form at these sizes."""
        if form == "parallel":
            return self._parallel(sizes)
        found = self._linear(form, sizes)
        if isinstance(found, NotLinear):
            self.require(form)
            raise FormError(f"No {form} form of {self.program.name} at these sizes: {found.reason}.")
        return found

    def _features(self, sizes: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
        time = self.rows.names if self.rows is not None else ()
        names = (n for n in self.program.sizes() if n not in time)
        return tuple((n, min(max(1, sizes[n]), LARGEST)) for n in names)

    def _linear(self, form: str, sizes: Mapping[str, int]) -> Plan | NotLinear:
        key = (form, self._features(sizes))
        if key not in self._plans:
            found = self._build(form, dict(sizes) | dict(key[1]))
            self._plans[key] = found
        return self._plans[key]

    def _build(self, form: str, sizes: dict[str, int]) -> Plan | NotLinear:
        if self.rows is None or (self.time is None and form == "recurrent"):
            return no_time_axis(self.program, form)
        graph = self._graph(sizes)
        if isinstance(graph, NotLinear):
            return graph
        try:
            if form == "recurrent":
                return recurrent_plan(self.program, graph, self.rows, sizes)
            plan = chunkwise_plan(self.program, graph, self.rows, sizes, CHUNK)
            long = sizes | {n: 2 * LENGTH for n in self.rows.names}
            chunk = best_chunk(plan, long)
            if chunk == plan.chunk:
                return plan
            other = chunkwise_plan(self.program, graph, self.rows, sizes, chunk)
        except NotLinear as problem:
            later = reads_later(self.program, self.rows) if form == "recurrent" else None
            return later or problem
        return min((plan, other), key=lambda p: plan_time(p, long))

    def _graph(self, sizes: dict[str, int]) -> Graph | NotLinear:
        key = self._features(sizes)
        if key not in self._graphs:
            found, log = self._stages(sizes, bands=not self.sums)
            windows = isinstance(found, Graph) and any(m.within is not None for m in found.memories.values())
            if self.sums and windows:
                found, log = min((found, log), self._stages(sizes, bands=True), key=self._measure(sizes))
            self._graphs[key] = found
            self.log.add(log)
        return self._graphs[key]

    def _stages(self, sizes: dict[str, int], bands: bool) -> tuple[Graph | NotLinear, Log]:
        """The stage graph, or why there is none, with its records."""
        assert self.rows is not None
        log = Log()
        try:
            return stage_graph(self.program, self.rows, sizes, log, bands), log
        except NotLinear as problem:
            return problem, log

    def _measure(self, sizes: dict[str, int]) -> Callable[[tuple[Graph | NotLinear, Log]], float]:
        """How long the chunkwise form of a graph takes; infinitely long if it does not exist."""
        assert self.rows is not None
        rows, long = self.rows, sizes | {n: 2 * LENGTH for n in self.rows.names}

        def measure(found: tuple[Graph | NotLinear, Log]) -> float:
            if isinstance(found[0], NotLinear):
                return float("inf")
            try:
                plan = chunkwise_plan(self.program, found[0], rows, sizes, CHUNK)
            except NotLinear:
                return float("inf")
            return plan_time(plan, long, chunk=best_chunk(plan, long))

        return measure

    def _parallel(self, sizes: Mapping[str, int]) -> Plan:
        time = self.time.names if self.time is not None else ()
        rounded = {n: _rounded(v) if n in time else max(1, v) for n, v in sizes.items()}
        key = ("parallel", tuple(rounded.items()))
        if key not in self._plans:
            variants = (False, True) if self._polynomials else (False,)
            plans = [parallel_plan(self.program, self.time, rounded, e, self.log) for e in variants]
            self._plans[key] = min(plans, key=lambda p: plan_time(p, rounded))
        found = self._plans[key]
        assert isinstance(found, Plan)
        return found

    def cheapest(self, sizes: Mapping[str, int], streaming: bool = False, batch: int = 1) -> str:
        """The form with the least time by the cost model for a batch; `streaming` excludes the parallel
        form."""
        key = (tuple(sizes.items()), streaming, batch)
        found = self._chosen.get(key)
        if found is None:
            if streaming:
                self.require("recurrent")
            forms = [f for f in ("parallel", "chunkwise", "recurrent") if self.exists(f)]
            if streaming:
                forms.remove("parallel")
            if len(self._chosen) >= 1024:
                self._chosen.clear()
            found = self._chosen[key] = min(
                forms, key=lambda f: plan_time(self.plan(f, sizes), sizes, batch=batch)
            )
        return found

    # -- source ----------------------------------------------------------------------------------------

    def source(self, form: str, sizes: Mapping[str, int]) -> str:
        """The generated source of a form."""
        return self.printer(self.program, self.plan(form, sizes))

    def function(self, form: str, sizes: Mapping[str, int], batch: Batch = ANY) -> tuple[Function, Plan]:
        """The function for whole sequences, given the sizes that no input shows, and its plan. `batch`
        says what is known of the leading dimensions."""
        functions, plan, extra = self._load(form, sizes, None, batch)
        return with_keywords(functions[Names(self.program).function], extra), plan

    def token_functions(
        self, sizes: Mapping[str, int], batch: Batch = ANY
    ) -> tuple[dict[str, Function], Plan, dict[str, int]]:
        """The functions of the recurrent form: `step`, `start` and the whole."""
        known = {n: LENGTH for n in self.program.sizes()} | dict(sizes)
        return self._load("recurrent", known, self.time, batch)

    def _load(
        self, form: str, sizes: Mapping[str, int], without: Extent | None, batch: Batch
    ) -> tuple[dict[str, Function], Plan, dict[str, int]]:
        plan = self.plan(form, sizes)
        key = (id(plan), without, batch)
        if key not in self._functions:
            functions = load(self.printer(self.program, plan, batch))
            names = required_sizes(self.program, without)
            self._functions[key] = (functions, plan, names)
        functions, plan, names = self._functions[key]
        return functions, plan, {keyword: sizes[name] for name, keyword in names.items()}


def _has_polynomials(program: Program) -> bool:
    """Whether anything inside a sum, or of a pair of indices, could be multiplied out."""
    pending: list[Node] = []
    for equation in program.equations:
        extents = [b.extent for b in equation.left]
        if len(set(extents)) < len(extents):
            pending.append(equation.body)
        else:
            pending += [n for n in walk(equation.body) if isinstance(n, Reduce)]
    seen: set[int] = set()
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Add | Pow | Where):
            return True
        pending += children(node)
    return False


def _rounded(value: int) -> int:
    """The nearest power of two: orders hardly change between."""
    return max(1, 2 ** round(max(1, value).bit_length() - 0.5)) if value > 1 else 1


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".") if text else ""
