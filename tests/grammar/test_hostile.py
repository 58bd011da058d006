"""Texts written to hurt: each ends within a second, in a clear error or in a harmless program."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tensorc.errors import LanguageError, TensorcError
from tensorc.grammar import parse
from tensorc.grammar.lowering import MAX_DEPTH
from tensorc.grammar.scanner import MAX_NESTING
from tensorc.ir import Program, children, walk
from tensorc.printing import print_program

HEAD = "def f(x[n], m[n, n]) -> y[n]:\n    y[i] = "


def many(count: int, piece: str, between: str = ", ") -> str:
    """`piece` with @ counted up."""
    return between.join(piece.replace("@", str(k)).replace("#", str(k + 1)) for k in range(count))


def nested(count: int, opening: str, core: str, closing: str = ")") -> str:
    return "".join(opening.replace("@", str(k)) for k in range(count)) + core + closing * count


def programs(count: int, body: str, last: str) -> str:
    head = "def f@(x[n]) -> y[n]:\n"
    texts = [(head + body).replace("@", str(k)).replace("#", str(k + 1)) for k in range(count)]
    return "".join(texts) + f"def f{count}(x[n]) -> y[n]:\n{last}"


def equations(count: int, first: str, rest: str) -> str:
    lines = [
        first,
        *(rest.replace("@", str(k)).replace("#", str(k + 1)) for k in range(count)),
        f"y[i] = t{count}[i]",
    ]
    return "def f(x[n]) -> y[n]:\n" + "".join(f"    {line}\n" for line in lines)


HOSTILE: dict[str, Callable[[], str]] = {
    "thousands of summed indices": lambda: HEAD + "x[i]" + many(900, " * x[c@] * x[c@]", ""),
    "thousands of bound indices": lambda: HEAD + f"sum[{many(1200, 'c@')}]({many(1200, 'x[c@]', ' * ')})",
    "a long chain": lambda: HEAD + f"sum[{many(900, 'c@', ' <= ')} <= i]({many(900, 'x[c@]', ' * ')})",
    "a long chain in a recurrence": lambda: (
        HEAD + f"sum[{many(900, 'c@', ' <= ')} < i]({many(900, 'y[c@]', ' * ')})"
    ),
    "a thousand axes": lambda: (
        f"def f(x[n]) -> y[{many(1000, 'n')}]:\n    y[{many(1000, 'c@')}] = "
        f"[0 < 1{many(600, ' and c@ < c#', '')}] * y[{many(999, 'c#')}, c0]\n"
    ),
    "thousands of terms": lambda: HEAD + "x[i]" + " - x[i]" * 1900,
    "thousands of factors": lambda: HEAD + "x[i]" + " * x[i]" * 1900,
    "thousands of divisors": lambda: HEAD + "x[i]" + " / x[i]" * 1900,
    "thousands of comparisons": lambda: HEAD + "[" + " < ".join(["i"] * 2500) + "]",
    "thousands of alternatives": lambda: HEAD + "[" + " or ".join(["i < 3"] * 1600) + "]",
    "thousands of ranges": lambda: (
        HEAD + f"x[i] * sum[{many(900, 'c@')}, {many(899, 'c@ <= c#')}, c899 <= i](1)"
    ),
    "nested sums": lambda: HEAD + nested(40, "sum[c@ <= i](x[c@] * ", "x[i]"),
    "sums in domains": lambda: HEAD + nested(40, "sum[c@, ", "x[i] > 0", "](x[0]) > 0").removesuffix(" > 0"),
    "nested softmaxes": lambda: HEAD + nested(40, "softmax[i, i < @](x[i] * ", "x[i]"),
    "nested choices": lambda: HEAD + nested(60, "where(i < 3, x[i], ", "x[i]"),
    "nested groups": lambda: HEAD + nested(40, "(x[c@] * x[c@] + ", "x[i]"),
    "nested groups with many letters": lambda: HEAD + nested(35, f"({many(50, 'x[c@]', ' * ')} * ", "x[i]"),
    "nested functions": lambda: HEAD + nested(99, "exp(", "x[i]"),
    "too many nested functions": lambda: HEAD + nested(101, "exp(", "x[i]"),
    "nested subscripts": lambda: HEAD + f"x[{nested(98, 'minimum(i, ', 'i')}]",
    "powers": lambda: HEAD + "x[i] ** " * 100 + "2",
    "too many powers": lambda: HEAD + "x[i] ** " * 101 + "2",
    "a huge power": lambda: HEAD + "x[i] ** 999999999 ** 999999999 ** 999999999",
    "a huge constant power": lambda: HEAD + "x[9 ** 9 ** 9 ** 9]",
    "a huge subscript": lambda: HEAD + f"x[{' * '.join(['9223372036854775807'] * 2000)}]",
    "a long subscript": lambda: HEAD + f"x[{' % '.join(['i'] * 2000)}]",
    "many negations": lambda: HEAD + "[" + "not " * 99 + "i < 3]",
    "too many negations": lambda: HEAD + "[" + "not " * 101 + "i < 3]",
    "many signs": lambda: HEAD + "-" * 100 + "x[i]",
    "open brackets": lambda: HEAD + "[" * 5000,
    "close brackets": lambda: HEAD + ")" * 5000,
    "a long number": lambda: HEAD + "0." + "1" * 60000,
    "a long integer": lambda: HEAD + "1" * 60000,
    "a huge exponent": lambda: HEAD + "1e999999999",
    "a tiny exponent": lambda: HEAD + "1e-999999999",
    "an exponent of many digits": lambda: HEAD + "1e" + "9" * 50000,
    "a long name": lambda: HEAD + "x" * 60000,
    "a long comment": lambda: HEAD + "x[i] #" + "(" * 60000,
    "a long text": lambda: HEAD + "x[i] #" + "." * 70000,
    "a long text of wide characters": lambda: HEAD + "x[i] #" + "€" * 30000,
    "many lines": lambda: HEAD + "x[i]" + "\n" * 60000,
    "many blanks": lambda: HEAD + " " * 60000 + "x[i]",
    "too many tokens": lambda: HEAD + "x[i]" + "+ i" * 6000,
    "many tensors": lambda: f"def f({many(1800, 'x@[n]')}) -> y[n]:\n    y[i] = xx[i]\n",
    "a long size": lambda: f"def f(x[{' * '.join(['n'] * 3000)}]) -> y[n]:\n    y[i] = i\n",
    "a large size": lambda: f"def f(x[{' * '.join(['9999999999'] * 3000)}]) -> y[n]:\n    y[i] = i\n",
    "many equations": lambda: equations(900, "t0[i] = x[i]", "t#[i] = t@[i]"),
    "a long cycle": lambda: equations(900, "t0[i] = t900[i - 1] + x[i]", "t#[i] = t@[i]"),
    "a long cycle at one position": lambda: equations(900, "t0[i] = t900[i] + x[i]", "t#[i] = t@[i]"),
    "a long cycle of pairs": lambda: equations(
        300, "t0[i, j] = x[i] * x[j] * t300[j, i - 1]", "t#[i, j] = t@[j, i]"
    ).replace("t300[i]", "t300[i, i]"),
    "a dense cycle": lambda: (
        "def f(x[n]) -> y[n]:\n"
        + "".join(f"    t{k}[i, j] = x[i] * x[j]{many(20, ' + t@[j, i]', '')}\n" for k in range(20))
        + "    y[i] = t0[i, i]\n"
    ),
    "many programs": lambda: programs(300, "    y = f#(x)\n", "    y[i] = x[i]\n"),
    "programs that double": lambda: programs(100, "    a = f#(x)\n    y = f#(a)\n", "    y[i] = x[i]\n"),
    "programs that call each other": lambda: programs(300, "    y = f#(x)\n", "    y = f0(x)\n"),
    "wide calls": lambda: (
        f"def g({many(300, 'a@[n]')}) -> y[n]:\n    y[i] = a0[i]\n\n"
        f"def f(x[n]) -> y[n]:\n{many(10, f'    t@ = g({many(300, chr(120))})', chr(10))}\n    y[i] = t9[i]\n"
    ),
    "nothing but blanks": lambda: " \t\n" * 10000,
    "null characters": lambda: HEAD + "x[i]\0",
    "a lone surrogate": lambda: HEAD + "x[i] \ud800",
    "terminal escapes": lambda: HEAD + "x[i] \x1b[31m",
    "odd line ends": lambda: HEAD + "x[i]\u2028\x0b\x0c\x85",
}


def outcome(text: str) -> Program | TensorcError:
    start = time.process_time()
    try:
        result: Program | TensorcError = parse(text)
    except TensorcError as error:
        result = error
    assert time.process_time() - start < 1
    return result


def depth(program: Program) -> int:
    """The depth of the deepest equation."""
    deepest, stack = 0, [(equation.body, 1) for equation in program.equations]
    while stack:
        node, level = stack.pop()
        deepest = max(deepest, level)
        stack.extend((child, level + 1) for child in children(node))
    return deepest


@pytest.fixture(scope="module", autouse=True)
def parser_is_made() -> None:
    parse("def f(x[n]) -> y[n]: y[i] = x[i]")


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_ends_soon_and_well(make: Callable[[], str]) -> None:
    text = make()
    result = outcome(text)
    if isinstance(result, Program):
        assert depth(result) <= MAX_DEPTH
        assert print_program(result)
        assert hash(result) == hash(result)
        return
    shown = str(result)
    assert len(shown) < 1500 and "Traceback" not in shown
    assert all(character.isprintable() or character == "\n" for character in shown)
    if isinstance(result, LanguageError):
        assert result.line is not None and result.hint


CODE = [
    "__import__('os').system('true')",
    "eval(x)",
    "exec[i](x[i])",
    "(lambda: 0)()",
    "x.__class__",
    "f'{x}'",
    "print(x[i])",
    "[c for c in x]",
    "{x: 1}",
    "x := 1",
    "await x",
    "*x",
    "x if x else x",
    "yield",
    "...",
    "x[i]; import os",
    "`true`",
    "${x}",
    "\\x41",
    "0x41",
    "1j",
    "x[i] -> y",
    "@x",
]


@pytest.mark.parametrize("code", CODE)
def test_text_that_looks_like_code_is_refused(code: str) -> None:
    with pytest.raises(LanguageError) as caught:
        parse(HEAD + code + "\n")
    assert caught.value.line == 2 and caught.value.hint


@pytest.mark.parametrize("name", ["print", "eval", "__import__", "__class__", "self", "None_", "_", "object"])
def test_names_of_python_are_names(name: str) -> None:
    program = parse(f"def {name}({name}[n]) -> y[n]:\n    y[i] = {name}[i] * 2\n")
    assert program.name == name and program.inputs[0].name == name


@pytest.mark.parametrize("word", ["True", "None", "lambda", "def", "if", "is", "async", "not", "and"])
def test_keywords_of_python_are_not(word: str) -> None:
    for text in (
        f"def {word}(x[n]) -> y[n]:\n    y[i] = x[i]",
        HEAD + f"{word} * x[i]",
        f"def f({word}[n]) -> y[n]:",
    ):
        with pytest.raises(LanguageError):
            parse(text)


def test_the_limits_themselves() -> None:
    assert parse(HEAD + nested(MAX_NESTING - 1, "(", "x[i]") + "\n").name == "f"
    with pytest.raises(LanguageError, match=f"More than {MAX_NESTING} brackets"):
        parse(HEAD + nested(MAX_NESTING, "(", "x[i]") + "\n")
    assert parse(HEAD + "x[i]" + " / 2" * (MAX_DEPTH - 2) + "\n").name == "f"
    with pytest.raises(LanguageError, match=f"more than {MAX_DEPTH} operations deep"):
        parse(HEAD + "x[i]" + " / 2" * MAX_DEPTH + "\n")


PIECES = (
    "def f g ( ) [ ] , : = -> + - * / // % ** < <= > >= == != and or not x y i j n 1 0.5 sum softmax where "
    "exp w=3 x[n] y[n] sum[j]( x[i] y[i] = [i<j] \n \n  # @ ; . if lambda"
).split(" ")


@given(st.integers(0, 2**32), st.integers(1, 40))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_tokens(seed: int, length: int) -> None:
    chosen = random.Random(seed)
    text = " ".join(chosen.choice(PIECES) for _ in range(length))
    for whole in (text, HEAD + text, "def f(x[n]) -> y[n]:\n    y[i] = x[i] " + text):
        result = outcome(whole)
        if isinstance(result, LanguageError):
            assert result.line is not None and result.column is not None and result.hint


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_program_with_one_character_changed(seed: int) -> None:
    chosen = random.Random(seed)
    text = (
        "def f(q[n, d], k[n, d], v[n, e], beta[n], w=4) -> o[n, e]:\n"
        "    w1[i, x] = beta[i] * (v[i, x] - sum[j < i](k[i, c] * k[j, c] * w1[j, x]))\n"
        "    p[i, j] = softmax[j, i - w < j <= i](q[i, c] * k[j, c] / sqrt(d))\n"
        "    o[i, x] = p[i, j] * w1[j, x] ** 2\n"
    )
    place = chosen.randrange(len(text))
    character = chosen.choice("()[],:=+-*/<>!ijkxqnde019 \n#.")
    changed = text[:place] + character + text[place + chosen.randrange(2) :]
    result = outcome(changed)
    if isinstance(result, Program):
        assert parse(print_program(result)) == result
        assert sum(1 for equation in result.equations for _ in walk(equation.body)) < 200


@pytest.mark.parametrize("kind", ["sum", "product", "and", "quotient", "function"])
def test_deep_traces(kind: str) -> None:
    """A loop in Python nests deeper than text can; a chain of one operator is flat."""
    from tensorc.grammar.lowering import lower
    from tensorc.grammar.syntax import Assignment, Declaration, Definition, Name
    from tensorc.ir import Add, And, Call, Compare, Const, Div, Iverson, Mul, Read, extent

    body: object = Read("x", (Name("i"),))
    condition: object = Compare("<", Name("i"), Const(3))
    for _ in range(3000):
        if kind == "sum":
            body = Add((body, Const(1)))  # type: ignore[arg-type]
        elif kind == "product":
            body = Mul((body, Const(1)))  # type: ignore[arg-type]
        elif kind == "quotient":
            body = Div(body, Const(1))  # type: ignore[arg-type]
        elif kind == "function":
            body = Call("exp", (body,))  # type: ignore[arg-type]
        else:
            condition = And((condition, Compare("<", Name("i"), Const(3))))  # type: ignore[arg-type]
            body = Iverson(condition)  # type: ignore[arg-type]
    axes = (extent("n"),)
    definition = Definition(
        "f", (Declaration("x", axes),), (), (Declaration("y", axes),), (Assignment("y", (Name("i"),), body),)
    )
    if kind in ("quotient", "function"):
        with pytest.raises(LanguageError, match="operations deep") as caught:
            lower([definition])
        assert caught.value.line is None
    else:
        assert depth(lower([definition])) <= 4


@pytest.mark.parametrize(
    "name", ["nested functions", "nested sums", "nested choices", "nested groups", "powers"]
)
def test_deep_programs_from_deep_inside_another_program(name: str) -> None:
    def below(frames: int) -> Program:
        if frames:
            return below(frames - 1)
        program = parse(HOSTILE[name]())
        assert parse(print_program(program)) == program
        return program

    assert below(200).name == "f"
