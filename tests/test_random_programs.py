"""Random programs: every form equals the definition, exactly. More of them: python -m tests.fuzz."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

import tensorc
from tests.programs import programs

FOUND = {
    "relations that contradict each other leave a loop of nothing": """
def f(A[n], p[n]) -> out[e]:
    out[x] = sum[j, j - u < 0, j > u](A[j] * A[u] * prod[u < t <= j](1 - p[t]))
""",
    "a stream that is a product of sizes": """
def f(x[2 * n], y[n]) -> z[2 * n]:
    z[i] = sum[j <= i](x[j]) * y[i // 2]
""",
}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs())
def test_every_form_equals_the_definition(text: str) -> None:
    try:
        operator = tensorc.compile(text)
    except tensorc.LanguageError:
        return  # a few of them are no programs
    result = operator.verify(time_limit=2)
    assert result.passed


@pytest.mark.parametrize("name", FOUND)
def test_programs_that_once_failed(name: str) -> None:
    assert tensorc.compile(FOUND[name]).verify(time_limit=1)
