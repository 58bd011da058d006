"""Expressions and conditions as difference constraints: the linear view of a program's indices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import TypeAlias

from tensorc.differences import ZERO, Budget, Form, Linear, Ranges, at_most_zero, plain
from tensorc.ir import (
    Add,
    And,
    Bind,
    Call,
    Compare,
    Cond,
    Const,
    Div,
    Expr,
    Extent,
    FloorDiv,
    Index,
    Iverson,
    Mod,
    Mul,
    Neg,
    Node,
    Not,
    Or,
    Pow,
    Read,
    Reduce,
    Size,
    Softmax,
    Where,
)
from tensorc.polynomial import Polynomial

Environment: TypeAlias = dict[str, str]  # indices of the program to nodes
Edges: TypeAlias = list[tuple[str, str, Form]]
TensorSupport: TypeAlias = Callable[[Read, Environment], Edges]

NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
ZERO_AT_ZERO = frozenset("sqrt abs sign tanh silu gelu relu elu sin".split())
MOST_ALTERNATIVES = 16


class Scope:
    """Makes nodes for indices and for expressions that are not linear, and keeps their ranges.

    Forms are in what sizes have above their least value: 1 for the sizes of axes (`axes`), since an empty
    axis has no positions to speak of; 0 for other parameters.
    """

    def __init__(self, axes: frozenset[str], budget: Budget) -> None:
        self.axes, self.budget, self.ranges = axes, budget, Ranges()
        self.count = 0

    def size(self, name: str) -> Polynomial:
        """A size as a form."""
        return Polynomial.symbol(name) + int(name in self.axes)

    def extent(self, extent: Extent) -> Polynomial:
        """An extent as a form."""
        product = Polynomial.constant(extent.coefficient)
        for name in extent.names:
            product = product * self.size(name)
        return product

    def node(self, name: str, low: Form | None, high: Form | None) -> str:
        """A new node with its range."""
        self.count += 1
        node = f"{name}~{self.count}"
        self.ranges.low[node], self.ranges.high[node] = low, high
        return node

    def fresh(self, bind: Bind) -> tuple[str, Edges]:
        """A node for an index, and its range as constraints."""
        last = plain(self.extent(bind.extent) + -1)
        node = self.node(bind.name, 0, last)
        return node, [(ZERO, node, 0), (node, ZERO, last)]

    # -- expressions -------------------------------------------------------------------------------------

    def position(self, subscript: Expr, env: Environment) -> tuple[str, Edges]:
        """A node that equals a subscript, with what ties it to the indices."""
        if isinstance(subscript, Index) and subscript.name in env:
            return env[subscript.name], []
        edges: Edges = []
        linear = self.linear(subscript, env, edges)
        node = self.node("p", self.ranges.least(linear), self.ranges.greatest(linear))
        return node, edges + self.ranges.equal(node, linear)

    def linear(self, expr: Expr, env: Environment, edges: Edges) -> Linear:
        """An integer expression as a linear one; what is not linear becomes a node with its bounds."""
        self.budget.spend(1)
        match expr:
            case Const(value=int(value)):
                return Linear({}, value)
            case Size(name=name):
                return Linear({}, plain(self.size(name)))
            case Index(name=name) if name in env:
                return Linear({env[name]: 1}, 0)
            case Neg(operand=operand):
                return Linear({}, 0).plus(self.linear(operand, env, edges), -1)
            case Add(terms=terms):
                total = Linear({}, 0)
                for term in terms:
                    total = total.plus(self.linear(term, env, edges))
                return total
            case Mul(factors=factors):
                return self._scaled([self.linear(f, env, edges) for f in factors])
            case FloorDiv(numerator=top, denominator=bottom):
                return self._quotient(top, bottom, env, edges)
            case Mod(numerator=top, denominator=bottom):
                return self._remainder(top, bottom, env, edges)
            case Call(function="minimum" | "maximum" as function, arguments=parts):
                inner = [self.linear(part, env, edges) for part in parts]
                return self._extreme(function == "minimum", inner, edges)
        return Linear({self.node("?", None, None): 1}, 0)

    def _scaled(self, parts: list[Linear]) -> Linear:
        """A product with at most one part that is not a number; sizes may be multiplied with each other."""
        scale: Form = 1
        rest = Linear({}, 1)
        for part in parts:
            if not part.nodes:
                scale = scale * part.form
            elif not rest.nodes:
                rest = part
            else:
                return Linear({self.node("?", None, None): 1}, 0)
        if not rest.nodes:
            return Linear({}, scale)
        if isinstance(scale, int):
            return Linear({}, 0).plus(rest, scale)
        # Sizes are not negative: size · x is at least 0 where x is.
        low = self.ranges.least(rest)
        return Linear({self.node("?", 0 if low == 0 else None, None): 1}, 0)

    def _quotient(self, top: Expr, bottom: Expr, env: Environment, edges: Edges) -> Linear:
        """x // k of x >= 0 lies between 0 and x."""
        upper = self.linear(top, env, edges)
        if not _positive(bottom) or not _natural(self.ranges.least(upper)):
            return Linear({self.node("?", None, None): 1}, 0)
        node = self.node("?", 0, self.ranges.greatest(upper))
        edges.append((ZERO, node, 0))
        edges += self.ranges.at_most(Linear({node: 1}, 0).plus(upper, -1), False)
        return Linear({node: 1}, 0)

    def _remainder(self, top: Expr, bottom: Expr, env: Environment, edges: Edges) -> Linear:
        """x % k of x >= 0 lies between 0 and both x and k - 1."""
        upper = self.linear(top, env, edges)
        modulus = self.linear(bottom, env, edges)
        if not _positive(bottom) or not _natural(self.ranges.least(upper)):
            return Linear({self.node("?", None, None): 1}, 0)
        node = self.node("?", 0, self.ranges.greatest(upper))
        edges.append((ZERO, node, 0))
        edges += self.ranges.at_most(Linear({node: 1}, 0).plus(upper, -1), False)
        edges += self.ranges.at_most(Linear({node: 1}, 0).plus(modulus, -1), True)
        return Linear({node: 1}, 0)

    def _extreme(self, least: bool, parts: list[Linear], edges: Edges) -> Linear:
        """minimum(a, b) is at most both; maximum(a, b) at least both."""
        lows, highs = [self.ranges.least(p) for p in parts], [self.ranges.greatest(p) for p in parts]
        nonnegative = all(map(_natural, lows)) if least else any(map(_natural, lows))
        known = next((h for h in highs if h is not None), None) if least else None
        node = self.node("?", 0 if nonnegative else None, known)
        if nonnegative:
            edges.append((ZERO, node, 0))
        for part in parts:
            difference = Linear({node: 1}, 0).plus(part, -1)
            edges += self.ranges.at_most(difference if least else Linear({}, 0).plus(difference, -1), False)
        return Linear({node: 1}, 0)

    # -- conditions --------------------------------------------------------------------------------------

    def common(self, conditions: Iterable[Cond], env: Environment) -> Edges:
        """What a conjunction says for sure: its comparisons, alternatives aside."""
        edges: Edges = []
        for condition in conditions:
            if isinstance(condition, And):
                edges += self.common(condition.parts, env)
                continue
            choices = self._choices(condition, env, True)
            if len(choices) == 1:
                edges += choices[0]
        return edges

    def alternatives(self, conditions: Sequence[Cond], env: Environment, holds: bool) -> list[Edges]:
        """The conjunctions one of which holds if all conditions do (one of them does not, if not `holds`)."""
        self.budget.spend(1)
        parts = [self._choices(c, env, holds) for c in conditions]
        return _every(parts) if holds else [edges for choices in parts for edges in choices]

    def _choices(self, condition: Cond, env: Environment, holds: bool) -> list[Edges]:
        self.budget.spend(1)
        match condition:
            case Not(part=part):
                return self._choices(part, env, not holds)
            case And(parts=parts) | Or(parts=parts):
                found = [self._choices(p, env, holds) for p in parts]
                if isinstance(condition, And) == holds:
                    return _every(found)
                flat = [edges for choices in found for edges in choices]
                return flat if len(flat) <= MOST_ALTERNATIVES else [[]]
            case Compare(op=op, left=left, right=right):
                return self._comparison(op if holds else NEGATED[op], left, right, env)
        return [[]]

    def _comparison(self, op: str, left: Expr, right: Expr, env: Environment) -> list[Edges]:
        if op == "!=":
            return [[]]
        if op in (">", ">="):
            left, right, op = right, left, "<" if op == ">" else "<="
        edges: Edges = []
        difference = self.linear(left, env, edges).plus(self.linear(right, env, edges), -1)
        edges += self.ranges.at_most(difference, op == "<")
        if op == "==":
            edges += self.ranges.at_most(Linear({}, 0).plus(difference, -1), False)
        return [edges]

    # -- where a value is not zero -----------------------------------------------------------------------

    def support(self, node: Node, env: Environment, tensor: TensorSupport) -> Edges:
        """Constraints that hold wherever an expression is not 0."""
        self.budget.spend(5)
        match node:
            case Read():
                return tensor(node, env)
            case Iverson(condition=condition):
                return self.common([condition], env)
            case Mul(factors=factors):
                return [edge for f in factors for edge in self.support(f, env, tensor)]
            case Neg(operand=part) | Div(numerator=part):
                return self.support(part, env, tensor)
            case Pow(base=base, exponent=Const(value=power)) if power > 0:
                return self.support(base, env, tensor)
            case Call(function=function, arguments=(part,)) if function in ZERO_AT_ZERO:
                return self.support(part, env, tensor)
            case Where(condition=condition, then=then, otherwise=Const(value=0)):
                return self.common([condition], env) + self.support(then, env, tensor)
            case Softmax(domain=domain):
                return self.common(domain, env)
            case Reduce(op="sum", binds=binds, domain=domain, body=body):
                edges: Edges = []
                for bind in binds:
                    inner, own = self.fresh(bind)
                    env = {**env, bind.name: inner}
                    edges += own
                return edges + self.common(domain, env) + self.support(body, env, tensor)
        return []


def _every(parts: Sequence[list[Edges]]) -> list[Edges]:
    """All ways to take one alternative of each part; parts with many are left out beyond a bound."""
    chosen: list[list[Edges]] = []
    count = 1
    for choices in parts:
        if count * len(choices) <= MOST_ALTERNATIVES:
            count *= len(choices)
            chosen.append(choices)
    return [[edge for edges in way for edge in edges] for way in product(*chosen)]


def _positive(expr: Expr) -> bool:
    """Whether a divisor is certainly positive: a number, or a size (which it must be, not to fail)."""
    return isinstance(expr, Size) or (isinstance(expr, Const) and expr.value > 0)


def _natural(form: Form | None) -> bool:
    """Whether a bound says that something is not negative."""
    return form is not None and at_most_zero(plain(-1 * form))
