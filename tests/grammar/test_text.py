"""Text to surface trees to the IR: layout, precedence, numbers, signatures, and every kind of expression."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tensorc.errors import LanguageError, Span
from tensorc.grammar import parse
from tensorc.grammar.parser import parse_definitions
from tensorc.ir import (
    Add,
    And,
    Bind,
    Call,
    Compare,
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
)

N, D, E = extent("n"), extent("d"), extent("e")
i, j, c, x = (Index(name) for name in "ijcx")


def body(text: str, head: str = "def f(a[n], b[n], s[], t[n, n], w=4) -> o[n]:") -> Expr:
    return parse(f"{head}\n    o[i] = {text}\n").equation("o").body


def a(subscript: Expr = i) -> Read:
    return Read("a", (subscript,))


def b(subscript: Expr = i) -> Read:
    return Read("b", (subscript,))


S = Read("s", ())
one, two = Const(1), Const(2)


def test_a_whole_program() -> None:
    program = parse(
        """
        def delta(k[n, d], v[n, e], beta[n]) -> w[n, e]:     # a comment
            w[i, x] = beta[i] * (v[i, x]                       # lines continue inside brackets
                - sum[j < i](k[i, c] * k[j, c] * w[j, x]))
        """
    )
    inner = Mul((Read("k", (i, c)), Read("k", (j, c)), Read("w", (j, x))))
    summed = Reduce("sum", (Bind("j", N),), (Compare("<", j, i),), Reduce("sum", (Bind("c", D),), (), inner))
    right = Mul((Read("beta", (i,)), Add((Read("v", (i, x)), Neg(summed)))))
    assert program == Program(
        "delta",
        (TensorDecl("k", (N, D)), TensorDecl("v", (N, E)), TensorDecl("beta", (N,))),
        (TensorDecl("w", (N, E)),),
        (),
        (Equation("w", (Bind("i", N), Bind("x", E)), right),),
    )


EXPRESSIONS: list[tuple[str, Expr]] = [
    ("a[i] + b[i] + 1", Add((a(), b(), one))),
    ("a[i] - b[i] - 1", Add((a(), Neg(b()), Neg(one)))),
    ("a[i] + (b[i] + 1)", Add((a(), Add((b(), one))))),
    ("(a[i] + b[i]) + 1", Add((a(), b(), one))),
    ("a[i] - (b[i] - 1)", Add((a(), Neg(Add((b(), Neg(one))))))),
    ("a[i] * b[i] * 2", Mul((a(), b(), two))),
    ("a[i] * (b[i] * 2)", Mul((a(), Mul((b(), two))))),
    ("(a[i] * b[i]) * 2", Mul((a(), b(), two))),
    ("a[i] * b[i] / 2 * s", Mul((Div(Mul((a(), b())), two), S))),
    ("a[i] / 2 / s", Div(Div(a(), two), S)),
    ("a[i] // 2 % 3", Mod(FloorDiv(a(), two), Const(3))),
    ("a[i] * 2 // s", FloorDiv(Mul((a(), two)), S)),
    ("-a[i] * 2", Mul((Neg(a()), two))),
    ("--a[i]", Neg(Neg(a()))),
    ("-a[i] ** 2", Neg(Pow(a(), two))),
    ("2 ** -s", Pow(two, Neg(S))),
    ("a[i] ** s ** 2", Pow(a(), Pow(S, two))),
    ("(a[i] ** s) ** 2", Pow(Pow(a(), S), two)),
    ("(((a[i])))", a()),
    ("s", S),
    ("s[]", S),
    ("n + w + i", Add((Size("n"), Size("w"), i))),
    ("exp(a[i])", Call("exp", (a(),))),
    ("maximum(a[i], 0)", Call("maximum", (a(), Const(0)))),
    ("[i < 2]", Iverson(Compare("<", i, two))),
    ("[0 < i <= 2]", Iverson(And((Compare("<", Const(0), i), Compare("<=", i, two))))),
    ("[i < 2 and a[i] > 0]", Iverson(And((Compare("<", i, two), Compare(">", a(), Const(0)))))),
    (
        "[i < 1 or i > 2 and i != 1]",
        Iverson(Or((Compare("<", i, one), And((Compare(">", i, two), Compare("!=", i, one)))))),
    ),
    ("[not i < 1]", Iverson(Not(Compare("<", i, one)))),
    ("[not (i < 1 or i > 2)]", Iverson(Not(Or((Compare("<", i, one), Compare(">", i, two)))))),
    ("[(0 < i) and (0 < i < 2)]", Iverson(And((Compare("<", Const(0), i),) * 2 + (Compare("<", i, two),)))),
    ("where(i < 2, a[i], 0)", Where(Compare("<", i, two), a(), Const(0))),
    ("where(a[i], 1, 2)", Where(Compare("!=", a(), Const(0)), one, two)),
    ("where(a[i] != 0, 1, 2)", Where(Compare("!=", a(), Const(0)), one, two)),
    ("a[i - 1]", a(Add((i, Neg(one))))),
    ("a[2 * i + 1]", a(Add((Mul((two, i)), one)))),
    ("a[(i * 2) * 3]", a(Mul((i, two, Const(3))))),
    ("a[i // w % 2]", a(Mod(FloorDiv(i, Size("w")), two))),
    ("a[n - 1 - i]", a(Add((Size("n"), Neg(one), Neg(i))))),
    ("a[-i + n]", a(Add((Neg(i), Size("n"))))),
    ("a[maximum(i - w, 0)]", a(Call("maximum", (Add((i, Neg(Size("w")))), Const(0))))),
    ("t[i, i]", Read("t", (i, i))),
    ("t[i, 0]", Read("t", (i, Const(0)))),
    ("a[w]", a(Size("w"))),
    ("sum[j](a[j])", Reduce("sum", (Bind("j", N),), (), a(j))),
    ("sum[j, j <= i](1)", Reduce("sum", (Bind("j", N),), (Compare("<=", j, i),), one)),
    (
        "max[0 < j <= i, b[j] == 1](a[j])",
        Reduce(
            "max",
            (Bind("j", N),),
            (And((Compare("<", Const(0), j), Compare("<=", j, i))), Compare("==", b(j), one)),
            a(j),
        ),
    ),
    (
        "sum[j](softmax[j, j <= i](a[j]))",
        Reduce("sum", (Bind("j", N),), (), Softmax((Bind("j", N),), (Compare("<=", j, i),), a(j))),
    ),
]


@pytest.mark.parametrize("text, expected", EXPRESSIONS, ids=[text for text, _ in EXPRESSIONS])
def test_expression(text: str, expected: Expr) -> None:
    assert body(text) == expected


@pytest.mark.parametrize("op", ["sum", "prod", "max", "min", "mean", "logsumexp"])
def test_reductions(op: str) -> None:
    assert body(f"{op}[j](a[j])") == Reduce(op, (Bind("j", N),), (), a(j))


@pytest.mark.parametrize(
    "function",
    "exp log sqrt rsqrt abs sign tanh sigmoid silu gelu relu elu softplus cos sin".split(),
)
def test_functions(function: str) -> None:
    assert body(f"{function}(a[i])") == Call(function, (a(),))


@pytest.mark.parametrize(
    "text, value",
    [
        ("0", 0),
        ("00", 0),
        ("42", 42),
        ("1_000", 1000),
        ("9223372036854775807", 2**63 - 1),
        ("0.1", Fraction(1, 10)),
        ("2.50", Fraction(5, 2)),
        (".5", Fraction(1, 2)),
        ("3.", 3),
        ("1e3", 1000),
        ("1.5E-2", Fraction(3, 200)),
        ("1e308", 10**308),
        ("0.1234567890123456789", Fraction(1234567890123456789, 10**19)),
        ("0e999", 0),
    ],
)
def test_numbers_are_exact(text: str, value: int | Fraction) -> None:
    found = body(f"{text} * a[i]")
    assert isinstance(found, Mul) and found.factors[0] == Const(value)
    assert isinstance(found.factors[0], Const)
    assert isinstance(found.factors[0].value, int) == (value.denominator == 1 and value < 2**63)


LAYOUTS = [
    "def f(x[n]) -> y[n]:\n    y[i] = x[i]",
    "def f(x[n]) -> y[n]:\n  y[i] = x[i]\n\n\n",
    "\n\n   def f(x[n]) -> y[n]:\n\n      # why\n      y[i] = x[i]  # how\n\n",
    "def f(x[n]) -> y[n]: y[i] = x[i]",
    "def f(x[n]) -> y[n]:\r\n\ty[i] = x[i]\r\n",
    "def f(x[n]) -> y[n]:\r    y[i] = x[i]\r",
    "def f(\n    x[n],\n) -> y[n]:\n    y[\n        i\n    ] = (\n        x[i]\n    )\n",
    "\ufeffdef f(x[n]) -> y[n]:\n    y[i] = x[i,]\n",
    "def f ( x [ n ] ) -> y [ n ] :\n    y [ i ]=x [ i ]\n# the end",
]


@pytest.mark.parametrize("text", LAYOUTS)
def test_layouts_of_one_program(text: str) -> None:
    assert parse(text) == parse(LAYOUTS[0])


def test_equations_may_be_indented_unevenly() -> None:
    text = "def f(x[n]) -> y[n]:\n    t[i] = x[i]\n      # a remark\n  y[i] = t[i]\n"
    assert [e.target for e in parse(text).equations] == ["t", "y"]


def test_signature() -> None:
    program = parse(
        "def f(x[2 * h, n * d, 4, n], g[], w=3, t=0) -> y[n], z[]:\n    y[i] = x[0, 0, 0, i]\n    z[] = g\n"
    )
    assert [str(axis) for axis in program.inputs[0].axes] == ["2 * h", "d * n", "4", "n"]
    assert program.inputs[1].axes == () and program.outputs[1].axes == ()
    assert program.defaults == (("w", 3), ("t", 0))
    assert program.sizes() == ("h", "d", "n", "w", "t")


def test_a_program_without_inputs() -> None:
    program = parse("def f(n=3) -> y[n]:\n    y[i] = i\n")
    assert program.inputs == () and program.equation("y").body == Index("i")


def test_names_are_case_sensitive_and_may_look_like_code() -> None:
    text = "def print(A[n], __import__[n], match[]) -> eval[n]:\n    eval[_] = A[_] * __import__[_] * match\n"
    assert parse(text).outputs[0].name == "eval"


def test_spans_point_into_the_text() -> None:
    program = parse("def f(x[n]) -> y[n]:\n    y[i] = 2 * exp(x[i]\n        + 1)\n")
    equation = program.equation("y")
    assert equation.span == Span(2, 5, 3, 13)
    assert isinstance(equation.body, Mul)
    call = equation.body.factors[1]
    assert isinstance(call, Call) and call.span == Span(2, 16, 3, 13)
    assert call.arguments[0].span == Span(2, 20, 3, 12)
    assert program.inputs[0].span == Span(1, 7, 1, 8)


def test_the_text_is_kept() -> None:
    text = "def f(x[n]) -> y[n]:\n    y[i] = x[i]\n"
    assert parse(text).text == text
    assert str(parse(text)) == text


def test_definitions_as_written() -> None:
    first, second = parse_definitions("def f(x[n]) -> y[n]: y[i] = x[i]\ndef g(x[n]) -> y[n]: y = f(x)\n")
    assert (first.name, second.name) == ("f", "g")
    assert type(first.statements[0]).__name__ == "Assignment"
    assert type(second.statements[0]).__name__ == "CallStatement"


def test_a_failed_parse_leaves_the_parser_as_it_was() -> None:
    for text in ("def f(x[n]) -> y[n]:\n    y[i] = x[i", "def f(x[n]) -> y[n]:\n    y[i] = 1e999\n", ""):
        with pytest.raises(LanguageError):
            parse(text)
    assert parse(LAYOUTS[0]).name == "f"


def test_parsing_in_several_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    texts = [f"def f{k}(x[n]) -> y[n]:\n    y[i] = {k} * x[i]\n" for k in range(40)]
    with ThreadPoolExecutor(4) as pool:
        assert [p.name for p in pool.map(parse, texts)] == [f"f{k}" for k in range(40)]


@pytest.mark.parametrize(
    "power", ["10 ** 400", "2 ** -1000", "(1 / 2) ** 1e4", "0 ** 0", "(-8) ** (1 / 3)", "1 ** 1e300"]
)
def test_powers_of_numbers(power: str) -> None:
    assert isinstance(body(power), Pow)


@pytest.mark.parametrize(
    "power", ["9 ** 9 ** 9", "2 ** 1e9", "0.5 ** 1e9", "(10 ** 400) ** 2", "0 ** -1", "(2 - 2) ** -3"]
)
def test_powers_of_numbers_that_no_machine_can_hold(power: str) -> None:
    with pytest.raises(LanguageError, match="is too large, or too small|divides by 0"):
        body(f"a[i] * {power}")
