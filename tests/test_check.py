"""The invariants of programs and plans."""

from __future__ import annotations

from dataclasses import replace

import pytest

import tensorc
from tensorc.check import InvariantError, check_plan, check_program
from tensorc.graphs import plan_graph, program_graph
from tensorc.ir import Index, Read
from tensorc.plan import Contract, Keep, Plan, Ref, Update
from tensorc.plan_io import plan_steps

TEXT = """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    z[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])
    o[i, x] = tanh(z[i, x])
"""


@pytest.fixture(scope="module")
def program() -> tensorc.Program:
    return tensorc.parse(TEXT)


@pytest.fixture(scope="module")
def plan(program: tensorc.Program) -> Plan:
    return tensorc.compile(program).forms.plan("chunkwise", {"n": 8, "d": 4, "e": 4})


def test_sound_programs_and_plans_pass(program: tensorc.Program, plan: Plan) -> None:
    check_program(program)
    check_plan(plan)
    assert plan_steps(plan)


def test_a_program_that_reads_what_nothing_defines(program: tensorc.Program) -> None:
    broken = replace(program.equations[1], body=Read("w", (Index("i"), Index("x"))))
    with pytest.raises(InvariantError, match="w is not defined"):
        check_program(replace(program, equations=(program.equations[0], broken)))


def test_a_program_with_an_unbound_index(program: tensorc.Program) -> None:
    broken = replace(program.equations[1], body=Read("z", (Index("i"), Index("y"))))
    with pytest.raises(InvariantError, match="y is bound nowhere"):
        check_program(replace(program, equations=(program.equations[0], broken)))


def _with_body(plan: Plan, body: tuple[object, ...]) -> Plan:
    return replace(plan, loops=(replace(plan.loops[0], body=body),))


def test_a_plan_that_reads_too_early(plan: Plan) -> None:
    body = plan.loops[0].body
    with pytest.raises(InvariantError, match="before it is made"):
        check_plan(_with_body(plan, body[::-1]))


def test_a_plan_without_an_update(plan: Plan) -> None:
    body = tuple(s for s in plan.loops[0].body if not isinstance(s, Update))
    with pytest.raises(InvariantError, match="not updated exactly once"):
        check_plan(_with_body(plan, body))


def test_a_plan_without_its_output(plan: Plan) -> None:
    body = tuple(s for s in plan.loops[0].body if not isinstance(s, Keep))
    with pytest.raises(InvariantError, match="should be stored"):
        check_plan(_with_body(plan, body))


def test_a_plan_with_too_few_labels(plan: Plan) -> None:
    body = tuple(
        replace(s, left=Ref(s.left.value, s.left.axes[:1])) if isinstance(s, Contract) else s
        for s in plan.loops[0].body
    )
    with pytest.raises(InvariantError, match="labels"):
        check_plan(_with_body(plan, body))


def test_graphs(program: tensorc.Program, plan: Plan) -> None:
    import networkx as nx

    graph = program_graph(program)
    assert set(graph.edges) == {("q", "z"), ("k", "z"), ("v", "z"), ("z", "o")}
    assert graph.nodes["z"]["kind"] == "local"
    steps = plan_graph(plan)
    state = plan.states[0].name
    assert nx.has_path(steps, "v", state) and nx.has_path(steps, state, "o")
