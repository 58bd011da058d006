"""Random expressions, read as text and evaluated by Python on traced tensors, are one program."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

import tensorc.tracing as tc
from tensorc.equivalence import equivalent
from tensorc.grammar import parse
from tensorc.trace_program import trace

HEADER = "a[n], b[m], s[n, m], g[], w=3 -> o[n, m]"
NAMES = {name: getattr(tc, name) for name in ("exp", "tanh", "maximum", "minimum", "where")}

atoms = st.sampled_from(["a[i]", "b[j]", "s[i, j]", "a[i - 1]", "b[j % 2]", "g", "w", "i", "j"])
numbers = st.sampled_from(["2", "0.5", "3", "1e-3", "-1"])
operators = st.sampled_from(["+", "-", "*", "/", "//", "%", "**"])
comparisons = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, inner)
    return st.one_of(
        st.builds("{0[0]} {1} {0[1]}".format, pair, operators),
        st.builds("(({}) {} {})".format, inner, operators, numbers),  # or Python would compute 2 + 2 + a[i]
        st.builds("({} {} ({}))".format, numbers, operators, inner),
        st.builds("({0[0]}) {1} ({0[1]})".format, pair, operators),
        st.builds("({})".format, inner),
        st.builds("-{}".format, inner),
        st.builds("-({})".format, inner),
        st.builds("exp({})".format, inner),
        st.builds("maximum({}, {})".format, inner, numbers),
        st.builds("where({0[0]} {1} {0[1]}, {2}, {3})".format, pair, comparisons, inner, numbers),
    )


expressions = st.recursive(atoms, larger, max_leaves=8)


@settings(max_examples=150, deadline=None)
@given(expressions)
def test_python_and_the_parser_agree(text):
    i, j = tc.indices("i j")

    def f(a, b, s, g, w):
        scope = {**NAMES, "a": a, "b": b, "s": s, "g": g, "w": w, "i": i, "j": j}
        o = tc.tensor("o")
        o[i, j] = eval(text, {"__builtins__": {}}, scope)
        return o

    written = parse(f"def f({HEADER.replace(' ->', ') ->')}: o[i, j] = {text}")
    traced = trace(f, HEADER)
    assert equivalent(traced, written), f"{traced}{written}"
    assert parse(traced.text or "") == traced
