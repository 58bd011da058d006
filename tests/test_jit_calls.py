"""Jitted functions that call jitted functions: programs that call programs, and macros."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorc.tracing as tc
from tensorc.decorator import Jit, jit
from tensorc.errors import LanguageError
from tensorc.grammar import parse

i, j, c = tc.indices("i j c")


def test_calls_of_other_programs():
    @jit("q[n, d], w=2 -> p[n, d]")
    def scaled(q, w):
        return (w * q[i, c])[i, c]

    @jit("q[n, d], k[n, d] -> o[n, n]")
    def scores(q, k):
        kk = scaled(k)
        return (scaled(q, w=3)[i, c] * kk[j, c])[i, j]

    expected = """
        def scores(q[n, d], k[n, d]) -> o[n, n]:
            kk = scaled(k)
            p = scaled_2(q)
            o[i, j] = p[i, c] * kk[j, c]
        def scaled(q[n, d], w=2) -> p[n, d]: p[i, c] = w * q[i, c]
        def scaled_2(q[n, d], w=3) -> p[n, d]: p[i, c] = w * q[i, c]
    """
    assert scores.program == parse(expected, name="scores")


def test_calls_with_several_outputs_and_in_depth():
    @jit("a[n] -> o[n]")
    def leaf(a):
        return (a[i] + 1)[i]

    @jit("a[n] -> s[n], z[]")
    def middle(a):
        b = leaf(a)
        return (2 * b[i])[i], tc.sum(b[i], i)

    @jit("a[n], b[n] -> o[n]")
    def top(a, b):
        s, z = middle(a)
        t = leaf(b)
        return (s[i] / z + t[i])[i]

    expected = """
        def top(a[n], b[n]) -> o[n]:
            s, z = middle(a)
            t = leaf(b)
            o[i] = s[i] / z + t[i]
        def leaf(a[n]) -> o[n]: o[i] = a[i] + 1
        def middle(a[n]) -> s[n], z[]:
            b = leaf(a)
            s[i] = 2 * b[i]
            z[] = sum[i](b[i])
    """
    assert top.program == parse(expected, name="top")


def test_programs_of_one_name_are_told_apart():
    def made(number: int) -> Jit:
        @jit("a[n] -> o[n]")
        def step(a):
            return (a[i] + number)[i]

        return step

    first, second = made(1), made(2)

    @jit("a[n] -> o[n]")
    def step(a):
        return second(first(a))

    assert str(step.program).count("+ 1") == str(step.program).count("+ 2") == 1


def test_jitted_functions_without_header_are_macros():
    @jit
    def score(q, k, i, j):
        return q[i, c] * k[j, c]

    @jit("q[n, d], k[n, d] -> o[n, n]")
    def scores(q, k):
        return score(q, k, i, j)[i, j]

    assert str(scores.program).splitlines()[-1].strip() == "o[i, j] = q[i, c] * k[j, c]"


def test_wrong_calls_of_programs():
    @jit("a[n] -> o[n]")
    def double(a, b=1):
        return (2 * a[i])[i]

    def failing(function: Any) -> str:
        with pytest.raises(LanguageError) as caught:
            jit("a[n] -> o[n]")(function).program  # noqa: B018
        return str(caught.value)

    assert "Define it first" in failing(lambda a: double(a[i] + 1))
    assert "not in its header" in failing(lambda a: double(a, a))

    with pytest.raises(LanguageError, match="calls another program and has no header"):
        jit(lambda a: double(a)).program  # noqa: B018

    @jit("a[n] -> o[n]")
    def endless(a):
        return endless(a)

    with pytest.raises(LanguageError, match="endless calls itself"):
        endless.program  # noqa: B018
    with pytest.raises(LanguageError, match="not ndarray"):
        jit("a[n] -> o[n]")(lambda a: pair(a, np.ones(3))).program  # noqa: B018


@jit("a[n], b[n] -> o[n]")
def pair(a, b):
    return (a[i] + b[i])[i]
