"""How a program uses an input: as a decay, inside a function, as a term of a sum."""

from __future__ import annotations

from collections.abc import Iterator

from tensorc.ir import (
    Add,
    Call,
    Compare,
    Const,
    Div,
    Equation,
    Expr,
    Extent,
    Index,
    Mul,
    Neg,
    Node,
    Pow,
    Program,
    Read,
    Reduce,
    Softmax,
    children,
    free_indices,
    walk,
)


def reads_of(node: Node) -> Iterator[Read]:
    """Every place below a node that reads a tensor."""
    return (n for n in walk(node) if isinstance(n, Read))


def compared(program: Program) -> set[str]:
    """The tensors that conditions read."""
    conditions = (n for e in program.equations for n in walk(e.body) if isinstance(n, Compare))
    return {read.tensor for condition in conditions for read in reads_of(condition)}


def refers_to_itself(program: Program) -> bool:
    """Whether a tensor is defined by its own values at other tokens."""
    import networkx as nx

    graph = nx.DiGraph((e.target, r.tensor) for e in program.equations for r in reads_of(e.body))
    return not nx.is_directed_acyclic_graph(graph)


def averages(program: Program) -> bool:
    """Whether the program normalises what it sums: by a softmax, or by dividing by data."""
    nodes = (n for e in program.equations for n in walk(e.body))
    return any(
        isinstance(n, Softmax) or (isinstance(n, Div) and next(reads_of(n.denominator), None) is not None)
        for n in nodes
    )


def additive(program: Program, name: str) -> bool:
    """Whether an input stands as a term of a sum, as a bias does."""
    terms = (t for e in program.equations for n in walk(e.body) if isinstance(n, Add) for t in n.terms)
    return any(isinstance(t, Read) and t.tensor == name for t in map(_bare, terms))


def inside_functions(program: Program, name: str) -> bool:
    """Whether every place that reads an input is in an argument of a function."""
    for equation in program.equations:
        stack: list[Node] = [equation.body]
        while stack:
            node = stack.pop()
            if isinstance(node, Read) and node.tensor == name:
                return False
            if not isinstance(node, Call):
                stack.extend(children(node))
    return True


def decays(program: Program, time: Extent) -> dict[str, str]:
    """The inputs that forget: `decay`, `log_decay` or `rate` (minus its logarithm); `decay_signal` and
    `rate_signal` where the program squashes them itself.

    >>> import tensorc
    >>> f = tensorc.parse("def f(x[n], g[]) -> y[n]:  y[i] = sum[j <= i](g ** (i - j) * x[j])")
    >>> decays(f, Extent(1, ("n",)))
    {'g': 'decay'}
    """
    inputs = {i.name for i in program.inputs}
    constants = {i.name for i in program.inputs if time not in i.axes}
    found: dict[str, str] = {}
    for equation in program.equations:
        for node, sign, inside in _signed(equation.body):
            if isinstance(node, Reduce) and node.op in ("sum", "prod"):
                over = {b.name for b in node.binds if b.extent == time}
                factors = [r for r in _factors(node.body) if r.tensor in inputs]
                kind = _accumulated(node.op, sign * _sign(node.body), inside) if over else ""
                signal = _squashed(node.body, kind, over)
                if signal in inputs and inside_functions(program, signal):
                    found[signal] = f"{kind}_signal"
                # exp(sum[j < u <= i](A * step[u])): where the number of the token is made by the program,
                # the constant decides.
                steps = [r.tensor for r in factors if over & free_indices(r)]
                names = steps or [r.tensor for r in factors if r.tensor in constants]
                found |= {name: kind for name in names if kind}
            elif isinstance(node, Pow) and _distance(node.exponent):
                found |= {r.tensor: "decay" for r in _factors(node.base) if r.tensor in constants}
            elif isinstance(node, Mul) and any(map(_distance, node.factors)):
                kind = "log_decay" if inside and sign * _sign(node) > 0 else "rate"
                found |= {r.tensor: kind for r in _factors(node) if r.tensor in constants}
            elif isinstance(node, Mul):
                past = _onto_the_past(equation, node, sign)
                found |= {r.tensor: "decay" for r in past if r.tensor in inputs}
    return found


def _accumulated(op: str, sign: int, inside: bool) -> str:
    """What an input is that is accumulated over a range of tokens; empty if it is no decay."""
    if op == "prod":
        return "decay"
    return ("log_decay" if sign > 0 else "rate") if inside else ""


def _squashed(body: Expr, kind: str, over: set[str]) -> str:
    """What the program itself makes a decay by sigmoid, or a rate by softplus; empty if there is nothing."""
    call = _bare(body)
    if isinstance(call, Call) and call.function == {"decay": "sigmoid", "rate": "softplus"}.get(kind):
        argument = call.arguments[0]
        for term in argument.terms if isinstance(argument, Add) else (argument,):
            if isinstance(term, Read) and over & free_indices(term):
                return term.tensor
    return ""


def _onto_the_past(equation: Equation, product: Mul, sign: int) -> Iterator[Read]:
    """The factors of S[i, c] = a[i] * S[i - 1, c] + ..., which multiply the state as it is."""
    left = [b.name for b in equation.left]
    past = [f for f in product.factors if isinstance(f, Read) and f.tensor == equation.target]
    if sign < 0 or len(past) != 1:
        return
    shifted = [s for name, s in zip(left, past[0].subscripts, strict=True) if s != Index(name)]
    if len(shifted) == 1 and isinstance(shifted[0], Add):
        yield from (f for f in product.factors if isinstance(f, Read) and f is not past[0])


def _signed(body: Expr) -> Iterator[tuple[Node, int, bool]]:
    """Every node, with the sign that stands before it and whether it is inside exp or softmax."""
    stack: list[tuple[Node, int, bool]] = [(body, 1, False)]
    while stack:
        node, sign, inside = stack.pop()
        yield node, sign, inside
        if isinstance(node, Neg):
            sign = -sign
        elif isinstance(node, Call):
            sign, inside = 1, inside or node.function == "exp"
        elif isinstance(node, Softmax):
            sign, inside = 1, True
        stack.extend((c, sign, inside) for c in reversed(children(node)))


def _sign(product: Expr) -> int:
    """The sign that a product brings along: of its numbers, and of a minus before it or a factor."""
    sign = -1 if isinstance(product, Neg) else 1
    whole = _bare(product)
    for factor in whole.factors if isinstance(whole, Mul) else ():
        number = _bare(factor)
        negative = isinstance(number, Const) and number.value < 0
        sign *= -1 if negative != isinstance(factor, Neg) else 1
    return sign


def _factors(body: Expr) -> list[Read]:
    """The tensors that a product reads as they are."""
    whole = _bare(body)
    parts = whole.factors if isinstance(whole, Mul) else (whole,)
    return [p for p in map(_bare, parts) if isinstance(p, Read)]


def _bare(node: Expr) -> Expr:
    """Without the minus before it."""
    return node.operand if isinstance(node, Neg) else node


def _distance(node: Expr) -> bool:
    """i - j, or anything else made of two positions."""
    return next(reads_of(node), None) is None and len(free_indices(node)) == 2
