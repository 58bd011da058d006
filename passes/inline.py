"""Inlining: pair tensors and state-like tensors disappear into the equations that read them.

s[i, j] has two token indices: kept as a tensor it would be n×n. b[i, a, c] has one token index and two
features and is a linear sum over tokens: kept as a tensor it would be a state per token. Both are
replaced by their right-hand sides, so that the contraction order may cut elsewhere.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import networkx as nx

from tensorc.ir import (
    Add,
    Call,
    Const,
    Div,
    Equation,
    Expr,
    Extent,
    Index,
    Iverson,
    Mul,
    Neg,
    Node,
    Program,
    Read,
    Reduce,
    Softmax,
    reads,
    rebuild,
    substitute,
    walk,
)
from tensorc.passes.records import Log
from tensorc.passes.terms import rename_apart

LARGEST = 2_000  # nodes of an equation after inlining


def dependency_order(program: Program) -> list[tuple[Equation, ...]]:
    """Equations so that each follows what it reads; those that use each other stand together."""
    by_name = {e.target: e for e in program.equations}
    graph = nx.DiGraph()
    graph.add_nodes_from(by_name)
    for equation in program.equations:
        graph.add_edges_from((t, equation.target) for t in reads(equation.body) if t in by_name)
    rank = {e.target: k for k, e in enumerate(program.equations)}
    condensed = nx.condensation(graph)
    order = nx.lexicographical_topological_sort(
        condensed, key=lambda c: min(rank[t] for t in condensed.nodes[c]["members"])
    )
    return [
        tuple(by_name[t] for t in sorted(condensed.nodes[c]["members"], key=rank.__getitem__)) for c in order
    ]


def is_recursive(group: tuple[Equation, ...]) -> bool:
    """Whether the equations of a group use their own results."""
    return len(group) > 1 or group[0].target in reads(group[0].body)


def multilinear(expr: Expr) -> bool:
    """Whether the expression is built from sums and products of values alone."""
    match expr:
        case Reduce(op="sum", body=body):
            return multilinear(body)
        case Mul(factors=parts) | Add(terms=parts):
            return all(multilinear(p) for p in parts)
        case Neg(operand=part):
            return multilinear(part)
        case Div(numerator=top, denominator=bottom):
            return multilinear(top) and not any(isinstance(n, Reduce | Softmax) for n in walk(bottom))
        case Read() | Const() | Iverson():
            return True
    if _is_decay(expr):
        return True
    return not any(isinstance(n, Reduce | Softmax) for n in walk(expr))


def inline(program: Program, time: Extent | None, everywhere: bool, log: Log) -> Program:
    """Inline what must not become a tensor. `everywhere`: also inside functions of a pair (so that
    they can be expanded); otherwise only where the tensor is a factor of a sum of products."""
    outputs = {o.name for o in program.outputs}
    bodies: dict[str, Equation] = {}
    done: list[Equation] = []
    for group in dependency_order(program):
        for equation in group:
            body = _apply(equation, bodies, everywhere)
            if sum(1 for _ in walk(body)) > LARGEST:
                body = equation.body
            equation = replace(equation, body=body)
            done.append(equation)
            if (
                equation.target not in outputs
                and not is_recursive(group)
                and _inlinable(equation, time, everywhere)
            ):
                bodies[equation.target] = equation
    needed = _needed(done, outputs)
    for equation in done:
        if equation.target not in needed and equation.target in bodies:
            log.did("inline", f"{equation.target} is inlined where it is used", equation.span)
    return replace(program, equations=tuple(e for e in done if e.target in needed))


def _needed(equations: list[Equation], outputs: set[str]) -> set[str]:
    """The tensors that the outputs depend on."""
    by_name = {e.target: e for e in equations}
    needed: set[str] = set()
    pending = [o for o in outputs if o in by_name]
    while pending:
        target = pending.pop()
        if target not in needed:
            needed.add(target)
            pending += [t for t in reads(by_name[target].body) if t in by_name]
    return needed


def _inlinable(equation: Equation, time: Extent | None, everywhere: bool) -> bool:
    if any(
        isinstance(n, Softmax) or (isinstance(n, Reduce) and n.op != "sum" and not _gate(n))
        for n in walk(equation.body)
    ):
        return False
    if time is None:
        extents = [b.extent for b in equation.left]
        return multilinear(equation.body) and len(set(extents)) < len(extents)
    tokens = sum(b.extent == time for b in equation.left)
    if tokens >= 2:
        return everywhere or multilinear(equation.body) or _is_decay(equation.body)
    state_like = len(equation.left) - tokens >= 2 and _sums_tokens(equation.body, time)
    return tokens == 1 and state_like and multilinear(equation.body)


def _gate(node: Reduce) -> bool:
    return node.op == "prod" and len(node.binds) == 1


def _is_decay(body: Expr) -> bool:
    return isinstance(body, Call) and body.function == "exp" or (isinstance(body, Reduce) and _gate(body))


def _sums_tokens(node: Node, time: Extent) -> bool:
    return any(isinstance(n, Reduce) and any(b.extent == time for b in n.binds) for n in walk(node))


def _apply(equation: Equation, bodies: dict[str, Equation], everywhere: bool) -> Expr:
    # Bound names must differ from all that come in by substitution, so rename them apart first.
    taken = {n.name for n in walk(equation.body) if isinstance(n, Index)} | {b.name for b in equation.left}

    def visit(node: Node, linear: bool) -> Node:
        if isinstance(node, Read) and node.tensor in bodies and (linear or everywhere):
            source = bodies[node.tensor]
            plain = all(isinstance(s, Index) for s in node.subscripts)
            if plain:
                marks = {b.name: Index(f"%{b.name}") for b in source.left}
                body: Any = substitute(source.body, marks)
                body = rename_apart(body, taken)
                into = {f"%{b.name}": s for b, s in zip(source.left, node.subscripts, strict=True)}
                inlined: Node = substitute(body, into)
                return inlined
        inside = isinstance(node, Mul | Neg | Add | Div) and linear
        inside = inside or (isinstance(node, Reduce) and node.op == "sum")
        return rebuild(node, lambda c: visit(c, inside))

    return visit(equation.body, True)  # type: ignore[return-value]
