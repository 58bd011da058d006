"""Headers of traced functions."""

from __future__ import annotations

import pytest

import tensorc.tracing as tc
from tensorc.errors import LanguageError
from tensorc.ir import extent
from tensorc.signature import parse_header
from tensorc.trace_program import trace

i = tc.indices("i")


def test_a_header_is_a_signature():
    signature = parse_header("q[h * 2, n, d], g[],\n w=64 -> o[n, w], z[]")
    assert [d.name for d in signature.inputs] == ["q", "g"]
    assert signature.inputs[0].axes == (extent("h", 2), extent("n"), extent("d"))
    assert signature.axes_of("q") == ("2 * h", "n", "d") and signature.axes_of("g") == ()
    assert [d.axes for d in signature.outputs] == [(extent("n"), extent("w")), ()]
    assert signature.defaults == {"w": 64} and signature.sizes == {"h", "n", "d", "w"}


HEADERS = {
    "": "inputs and outputs, with -> between",
    "q[n]": "with -> between them",
    "q[n] -> ": "at least one output",
    "q[n d] -> o[n]": "d cannot stand after n",
    "q[n -> o[n]": "The inputs of the header are incomplete here",
    "q] -> o[n]": "This ] closes nothing",
    "q[n] -> o": "The outputs of the header are incomplete here",
    "q[n] k[n] -> o[n]": "k cannot stand after ]",
    "q[n], w= -> o[n]": "The inputs of the header are incomplete here",
    "q[n] -> o[n": "never closed",
    "q[n] -> o[n]: o[i] = q[i]": ": does not stand in a header",
    "def f(q[n]) -> o[n]": "( does not stand in a header",
    "q[n], w=0.5 -> o[n]": "A default is an integer",
    "q[0] -> o[]": "size 0",
    "q[n] -> o[n], lambda[n]": "lambda is a Python keyword",
    "q[n] -> o[n] -> z[n]": "-> cannot stand after ]",
    "q -> o[n]": "The inputs of the header are incomplete here",
    "é[n] -> o[n]": "é is not an ASCII name",
}


@pytest.mark.parametrize("header", HEADERS)
def test_malformed_headers_point_into_the_header(header):
    with pytest.raises(LanguageError) as caught:
        parse_header(header)
    error = caught.value
    assert HEADERS[header] in error.message
    assert error.line == 1 and error.column is not None and 1 <= error.column <= len(header) + 1
    assert error.source_line == header and error.hint


def test_places_in_a_header_are_those_of_the_header():
    header = "q[n, d], k[n, d] -> o[n, lambda]"
    with pytest.raises(LanguageError) as caught:
        parse_header(header)
    assert caught.value.column == header.index("lambda") + 1
    with pytest.raises(LanguageError) as caught:
        parse_header("q[n, if] -> o[n]")
    assert caught.value.column == 6


def test_duplicate_names_in_a_header():
    with pytest.raises(LanguageError):
        trace(lambda q: (q[i] * 2)[i], "q[n], q[n] -> o[n]")
    with pytest.raises(LanguageError):
        trace(lambda n: (n[i] * 2)[i], "n[n] -> o[n]")
