"""Random programs of the IR in the form that lowering gives them, for hypothesis."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import strategies as st

from tensorc.ir import (
    FUNCTIONS,
    REDUCTIONS,
    Add,
    And,
    Bind,
    Call,
    Compare,
    Cond,
    Const,
    Div,
    Equation,
    Expr,
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
    TensorDecl,
    Where,
    extent,
    walk,
)

EXTENTS = {"i": "n", "j": "n", "u": "n", "l": "n", "c": "d", "b": "d", "x": "e", "y": "e"}
TENSORS = {"q": "nd", "k": "nd", "v": "ne", "m": "nn", "w": "d", "g": "n", "s": "", "A": "dd"}
HELPERS = {"t": "nn", "r": "ne"}
QUOTIENTS = (Div, FloorDiv, Mod)


def bind(name: str) -> Bind:
    return Bind(name, extent(EXTENTS[name]))


@st.composite
def subscripts(draw: st.DrawFn, size: str, scope: tuple[str, ...]) -> Expr:
    """Mostly a bare index of the right range; now and then an integer expression."""
    fitting = [name for name in scope if EXTENTS[name] == size]
    if not fitting or draw(st.integers(0, 9)) == 0:
        return Const(draw(st.integers(0, 3)))
    index = Index(draw(st.sampled_from(fitting)))
    if draw(st.integers(0, 4)):
        return index
    number = Const(draw(st.integers(1, 3)))
    choices: list[Expr] = [
        Add((index, Neg(number))),
        Add((Mul((number, index)), number)),
        Add((Neg(index), Size("n"))),
        FloorDiv(index, number),
        Mod(Add((index, Size("w0"))), number),
        Call("maximum", (Add((index, Neg(number))), Const(0))),
        Mul((number, Add((index, number)))),
        Mul((index, Index(draw(st.sampled_from(fitting))))),
    ]
    return draw(st.sampled_from(choices))


@st.composite
def reads(draw: st.DrawFn, scope: tuple[str, ...], tensors: dict[str, str]) -> Expr:
    tensor = draw(st.sampled_from(sorted(tensors)))
    return Read(tensor, tuple(draw(subscripts(size, scope)) for size in tensors[tensor]))


@st.composite
def conditions(draw: st.DrawFn, scope: tuple[str, ...], tensors: dict[str, str], depth: int) -> Cond:
    kind = draw(st.integers(0, 7 if depth else 4))
    if kind <= 4:
        op = draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
        sides = [Index(name) for name in scope] or [Const(0)]
        if kind == 4:
            return Compare(op, draw(exprs(scope, tensors, 0)), draw(exprs(scope, tensors, min(depth, 1))))
        left = draw(st.sampled_from(sides))
        return Compare(op, left, draw(st.sampled_from(sides + [Const(1)])))
    if kind == 5:
        return Not(draw(conditions(scope, tensors, depth - 1)))
    junction = And if kind == 6 else Or
    parts: list[Cond] = []
    for _ in range(draw(st.integers(2, 3))):
        part = draw(conditions(scope, tensors, depth - 1))
        parts += part.parts if isinstance(part, junction) else [part]
    return junction(tuple(parts))


@st.composite
def exprs(draw: st.DrawFn, scope: tuple[str, ...], tensors: dict[str, str], depth: int) -> Expr:
    """An expression whose free indices are in scope."""
    inner = exprs(scope, tensors, depth - 1)
    kind = draw(st.integers(0, 15)) if depth else draw(st.integers(0, 2))
    match kind:
        case 0:
            numbers: list[int | Fraction] = [
                0,
                1,
                2,
                7,
                Fraction(1, 2),
                Fraction(1, 10),
                Fraction(25, 4),
                10**6,
            ]
            atoms: list[Expr] = [Const(value) for value in numbers] + [Size("d"), Size("w0")]
            return draw(st.sampled_from(atoms + [Index(name) for name in scope]))
        case 3 | 4 | 5 | 6:
            first, *rest = [draw(inner) for _ in range(draw(st.integers(2, 4)))]
            return Mul((*(first.factors if isinstance(first, Mul) else (first,)), *rest))
        case 7 | 8:
            first, *rest = [draw(inner) for _ in range(draw(st.integers(2, 3)))]
            return Add((*(first.terms if isinstance(first, Add) else (first,)), *rest))
        case 9:
            return Neg(draw(inner))
        case 10:
            if draw(st.booleans()):
                exponents: list[Expr] = [Const(2), Const(Fraction(1, 2)), Neg(Size("d")), Read("s", ())]
                exponents.append(Add((Read("s", ()), draw(inner))))
                return Pow(draw(inner), draw(st.sampled_from(exponents)))
            return draw(st.sampled_from(QUOTIENTS))(draw(inner), draw(inner))
        case 11:
            function = draw(st.sampled_from(sorted(FUNCTIONS)))
            return Call(function, tuple(draw(inner) for _ in range(FUNCTIONS[function])))
        case 12:
            condition = draw(conditions(scope, tensors, depth - 1))
            return draw(st.sampled_from([Iverson(condition), Where(condition, draw(inner), draw(inner))]))
        case 13 | 14:
            return draw(reductions(scope, tensors, depth))
        case 15 if scope:
            over = draw(st.lists(st.sampled_from(scope), min_size=1, max_size=2, unique=True))
            domain = draw(st.lists(conditions(scope, tensors, depth - 1), max_size=1))
            return Softmax(tuple(map(bind, over)), tuple(domain), draw(inner))
    return draw(reads(scope, tensors))


@st.composite
def contractions(draw: st.DrawFn, scope: tuple[str, ...], binds: list[str], tensors: dict[str, str]) -> Expr:
    """A plain sum of a product of reads, each bound index in two of them."""
    factors: list[Expr] = []
    for name in (*binds, *binds):
        fitting = [t for t, sizes in sorted(tensors.items()) if EXTENTS[name] in sizes]
        tensor = draw(st.sampled_from(fitting))
        sizes, place = tensors[tensor], tensors[tensor].index(EXTENTS[name])
        others = [draw(subscripts(size, scope)) for size in sizes]
        read: Expr = Read(tensor, (*others[:place], Index(name), *others[place + 1 :]))
        wrap = draw(st.integers(0, 9))
        factors.append(Call("exp", (read,)) if wrap == 0 else Pow(read, Const(2)) if wrap == 1 else read)
    product: Expr = Mul(tuple(factors))
    if draw(st.integers(0, 3)) == 0:
        product = Div(product, draw(exprs((*scope, *binds), tensors, 1)))
    return Reduce("sum", tuple(map(bind, binds)), (), product)


@st.composite
def reductions(draw: st.DrawFn, scope: tuple[str, ...], tensors: dict[str, str], depth: int) -> Expr:
    """A reduction; half of them plain sums of products, which printing may leave out."""
    free = [name for name in EXTENTS if name not in scope]
    if not free:
        return draw(reads(scope, tensors))
    binds = draw(st.lists(st.sampled_from(free), min_size=1, max_size=2, unique=True))
    inside = (*scope, *binds)
    kind = draw(st.integers(0, 3))
    if kind < 2:
        return draw(contractions(scope, binds, tensors))
    if kind == 2:
        factors = [draw(exprs(inside, tensors, depth - 1)) for _ in range(draw(st.integers(2, 3)))]
        first, *rest = factors
        product = Mul((*(first.factors if isinstance(first, Mul) else (first,)), *rest))
        return Reduce("sum", tuple(map(bind, binds)), (), product)
    op = draw(st.sampled_from(REDUCTIONS))
    domain = draw(st.lists(conditions(inside, tensors, min(depth - 1, 1)), max_size=2))
    return Reduce(op, tuple(map(bind, binds)), tuple(domain), draw(exprs(inside, tensors, depth - 1)))


def declaration(name: str, sizes: str) -> TensorDecl:
    return TensorDecl(name, tuple(extent(size) for size in sizes))


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """A program of three equations, all of whose indices stand on an axis."""
    head = Equation("t", (bind("i"), bind("j")), draw(exprs(("i", "j"), TENSORS, 2)))
    middle = Equation("r", (bind("i"), bind("x")), draw(exprs(("i", "x"), TENSORS | {"t": "nn"}, 3)))
    last = Equation("o", (bind("i"), bind("x")), Add((Read("r", (Index("i"), Index("x"))),
                    draw(exprs(("i", "x"), TENSORS | HELPERS, 3)))))  # fmt: skip
    used = Equation(
        "z",
        (bind("i"), bind("j")),
        Mul((Read("t", (Index("i"), Index("j"))), Read("m", (Index("i"), Index("j"))))),
    )
    return Program(
        "f",
        tuple(declaration(name, sizes) for name, sizes in TENSORS.items()),
        (declaration("o", "ne"), declaration("z", "nn")),
        (declaration("t", "nn"), declaration("r", "ne")),
        (head, middle, last, used),
        (("w0", 3),),
    )


def all_on_an_axis(program: Program) -> bool:
    """Whether every bound index of each equation stands bare on an axis in it."""
    for equation in program.equations:
        nodes = list(walk(equation.body))
        bare = {s.name for n in nodes if isinstance(n, Read) for s in n.subscripts if isinstance(s, Index)}
        bare |= {b.name for b in equation.left}
        if any(b.name not in bare for n in nodes if isinstance(n, Reduce) for b in n.binds):
            return False
    return True
