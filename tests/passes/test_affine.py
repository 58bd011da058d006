"""Which conditions are orders of two positions, however they are written."""

from __future__ import annotations

import pytest

from tensorc import parse
from tensorc.ir import Compare, Cond, Not, Reduce
from tensorc.passes.affine import as_order, negated


def condition(text: str) -> Cond:
    program = parse(f"def f(x[n], y[n]) -> o[n]:  o[i] = sum[j, {text}](x[j])")
    body = program.equations[0].body
    assert isinstance(body, Reduce)
    (found,) = body.domain
    return found


@pytest.mark.parametrize(
    ("text", "order"),
    (
        ("j <= i", ("j", "i", "<=")),
        ("j < i", ("j", "i", "<")),
        ("i >= j", ("j", "i", "<=")),
        ("i > j", ("j", "i", "<")),
        ("j >= i", ("i", "j", "<=")),
        ("j <= i - 1", ("j", "i", "<")),
        ("j + 1 <= i", ("j", "i", "<")),
        ("j < i + 1", ("j", "i", "<=")),
        ("j - i < 0", ("j", "i", "<")),
        ("0 <= i - j", ("j", "i", "<=")),
        ("-j >= -i", ("j", "i", "<=")),
        ("2 * j - j <= i", ("j", "i", "<=")),
        ("j == i", ("j", "i", "==")),
        ("i - j == 0", ("j", "i", "==")),
        ("j <= i - 2", None),
        ("j < i + 2", None),
        ("2 * j <= i", None),
        ("j + i <= 3", None),
        ("j != i", None),
        ("j == i - 1", None),
        ("j // 2 <= i", None),
        ("y[j] <= y[i]", None),
    ),
)
def test_orders(text: str, order: tuple[str, str, str] | None) -> None:
    found = as_order(condition(text))
    if order is not None and order[2] == "==":
        assert found is not None and set(found[:2]) == set(order[:2]) and found[2] == "=="
    else:
        assert found == order


@pytest.mark.parametrize(
    ("text", "plain"),
    (
        ("j <= i", "j > i"),
        ("j < i", "j >= i"),
        ("j == i", "j != i"),
        ("j != i", "j == i"),
        ("j > i", "j <= i"),
    ),
)
def test_not_of_an_order_is_the_opposite_one(text: str, plain: str) -> None:
    assert negated(Not(condition(text))) == condition(plain)


def test_not_of_data_stays() -> None:
    """x < y and not x >= y differ where one of them is NaN."""
    compared = Not(condition("y[j] < y[i]"))
    assert negated(compared) == compared
    assert isinstance(compared.part, Compare)
