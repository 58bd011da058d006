"""A second definition, element by element: Python numbers, Python loops, nothing clever.

It shares no code with the reference backend but the IR, so that agreement means something.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tensorc.ir import (
    Add,
    And,
    Call,
    Compare,
    Const,
    Div,
    FloorDiv,
    Index,
    Iverson,
    Mod,
    Mul,
    Neg,
    Not,
    Or,
    Pow,
    Program,
    Read,
    Reduce,
    Size,
    Softmax,
    Where,
)

COMPARE = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


FUNCTIONS: dict[str, Any] = {
    "exp": math.exp, "log": lambda x: math.log(x) if x > 0 else (-math.inf if x == 0 else math.nan),
    "sqrt": lambda x: math.sqrt(x) if x >= 0 else math.nan, "rsqrt": lambda x: 1 / math.sqrt(x),
    "abs": abs, "sign": lambda x: (x > 0) - (x < 0), "tanh": math.tanh, "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x), "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "relu": lambda x: max(x, 0), "elu": lambda x: x if x > 0 else math.expm1(x),
    "softplus": lambda x: math.log1p(math.exp(x)), "cos": math.cos, "sin": math.sin,
    "maximum": max, "minimum": min,
}  # fmt: skip


class Loops:
    """Elements of tensors on demand; each is computed once."""

    def __init__(self, program: Program, inputs: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self.inputs = {name: np.asarray(array).astype(object) for name, array in inputs.items()}
        self.equations = {e.target: e for e in program.equations}
        self.shapes = {name: tuple(a.value(sizes) for a in t.axes) for name, t in program.tensors().items()}
        self.known: dict[tuple[str, tuple[int, ...]], Any] = {}

    def element(self, tensor: str, at: tuple[int, ...]) -> Any:
        if not all(0 <= p < length for p, length in zip(at, self.shapes[tensor], strict=True)):
            return 0
        if tensor in self.inputs:
            return self.inputs[tensor][at]
        if (tensor, at) not in self.known:
            equation = self.equations[tensor]
            env = {bind.name: p for bind, p in zip(equation.left, at, strict=True)}
            self.known[tensor, at] = self.number(equation.body, env)
        return self.known[tensor, at]

    def number(self, node: Any, env: dict[str, int]) -> Any:
        match node:
            case Const(value=value):
                return value
            case Size(name=name):
                return self.sizes[name]
            case Index(name=name):
                return env[name]
            case Read():
                return self.element(node.tensor, tuple(self.number(s, env) for s in node.subscripts))
            case Neg():
                return -self.number(node.operand, env)
            case Add():
                return sum((self.number(t, env) for t in node.terms), 0)
            case Mul():
                if not self.allowed(node, env):
                    return 0
                return math.prod(self.number(f, env) for f in node.factors)
            case Div():
                if not self.allowed(node, env):
                    return 0
                return quotient(self.number(node.numerator, env), self.number(node.denominator, env))
            case FloorDiv():
                return self.number(node.numerator, env) // self.number(node.denominator, env)
            case Mod():
                return self.number(node.numerator, env) % self.number(node.denominator, env)
            case Pow():
                return self.number(node.base, env) ** self.number(node.exponent, env)
            case Call():
                return FUNCTIONS[node.function](*(self.number(a, env) for a in node.arguments))
            case Iverson():
                return int(self.holds(node.condition, env))
            case Where():
                return self.number(node.then if self.holds(node.condition, env) else node.otherwise, env)
            case Reduce():
                inner = [e for e in self.positions(node.binds, env) if self.all_hold(node.domain, e)]
                return reduction(node.op, [self.number(node.body, e) for e in inner])
            case Softmax():
                if not self.all_hold(node.domain, env):
                    return 0
                inner = [e for e in self.positions(node.over, env) if self.all_hold(node.domain, e)]
                scores = [self.number(node.body, e) for e in inner]
                own, top = self.number(node.body, env), max(scores)
                return math.exp(own - top) / sum(math.exp(s - top) for s in scores)
        raise TypeError(node)

    def positions(self, binds: Any, env: dict[str, int]) -> Iterator[dict[str, int]]:
        for at in itertools.product(*(range(bind.extent.value(self.sizes)) for bind in binds)):
            yield {**env, **{bind.name: p for bind, p in zip(binds, at, strict=True)}}

    def all_hold(self, conditions: Any, env: dict[str, int]) -> bool:
        return all(self.holds(condition, env) for condition in conditions)

    def holds(self, node: Any, env: dict[str, int]) -> bool:
        match node:
            case Compare():
                return bool(COMPARE[node.op](self.number(node.left, env), self.number(node.right, env)))
            case And():
                return all(self.holds(part, env) for part in node.parts)
            case Or():
                return any(self.holds(part, env) for part in node.parts)
            case Not():
                return not self.holds(node.part, env)
        raise TypeError(node)

    def allowed(self, node: Any, env: dict[str, int]) -> bool:
        """Whether no factor of a product is a strong zero."""
        match node:
            case Iverson():
                return self.holds(node.condition, env)
            case Mul():
                return all(self.allowed(f, env) for f in node.factors)
            case Div():
                return self.allowed(node.numerator, env)
            case Neg():
                return self.allowed(node.operand, env)
        return True


def quotient(left: Any, right: Any) -> Any:
    if right == 0:
        return math.nan if left == 0 or left != left else math.copysign(math.inf, left)
    from fractions import Fraction

    return left / right if isinstance(left, float) or isinstance(right, float) else Fraction(left) / right


def reduction(op: str, values: list[Any]) -> Any:
    if op == "mean":
        return quotient(sum(values), len(values))
    if op == "logsumexp":
        top = max(values, default=-math.inf)
        if not math.isfinite(top):
            return top
        return top + math.log(sum(math.exp(v - top) for v in values))
    if op in ("max", "min"):
        return max(values, default=-math.inf) if op == "max" else min(values, default=math.inf)
    return sum(values) if op == "sum" else math.prod(values)


def by_loops(program: Program, inputs: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    """All outputs as object arrays; the inputs have no leading dimensions."""
    loops = Loops(program, inputs, sizes)
    outputs = {}
    for decl in program.outputs:
        array = np.empty(loops.shapes[decl.name], dtype=object)
        for at in np.ndindex(array.shape):
            array[at] = loops.element(decl.name, at)
        outputs[decl.name] = array
    return outputs
