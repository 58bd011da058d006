"""Random programs: every form equals the definition, in exact arithmetic and in floats.

`python -m tests.fuzz --count 2000` runs as many as one likes.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings

import tensorc
from tensorc.errors import LanguageError
from tests.agreement import check_forms
from tests.fuzz import fuzz
from tests.programs import programs

QUIET = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)


@settings(QUIET, max_examples=20)
@given(programs())
def test_every_form_is_exact(text: str) -> None:
    try:
        program = tensorc.parse(text)
    except LanguageError:
        assume(False)
    shown = {name for decl in program.inputs for axis in decl.axes for name in axis.names}
    sizes = {name: 2 for name in program.sizes() if name not in shown}
    tensorc.compile(program, time="n", sizes=sizes).verify(time_limit=0.4)


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@settings(QUIET, max_examples=12)
@given(programs())
def test_every_form_in_floats(text: str) -> None:
    try:
        tensorc.parse(text)
    except LanguageError:
        assume(False)
    check_forms(text, (5, 17), time="n")


def test_the_fuzzer_counts() -> None:
    tally = fuzz(first=0, count=3, seconds=0.3)
    assert tally.programs == 3 and not tally.failures and tally.evaluations > 0
    assert tally.forms["chunkwise"] > 0 and "3 programs" in str(tally)
