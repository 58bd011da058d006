"""Relations as forests of scans: the split is exact, and as small as the module says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import product
from random import Random

import pytest

from tensorc.ir import (
    Add,
    Bind,
    Compare,
    Cond,
    Const,
    Div,
    Expr,
    Index,
    Iverson,
    Mul,
    Neg,
    Pow,
    Read,
    extent,
)
from tensorc.passes.chains import LinearTerm, NoScan, linear_terms, merge
from tensorc.passes.records import Log
from tensorc.passes.relation import TOKEN, Decayed, Gate, Relation, Scan
from tensorc.passes.relation_dense import Dense
from tensorc.passes.relation_order import Decay, Order
from tensorc.passes.terms import ONE, Term

N = extent("n")
LENGTH = 4
# A value for every tensor and token: products of gates that are zero, negative and fractions too.
GATES: tuple[int | Fraction, ...] = (Fraction(1, 2), -1, 0, 3)
VALUES: dict[str, tuple[int | Fraction, ...]] = {
    "x": (2, 3, -1, 5), "y": (7, -2, 4, 1), "z": (1, 6, -3, 2), "w": (3, 1, 1, -2),
    "p": GATES, "r": (2, Fraction(-1, 3), 1, -2), "s": (Fraction(-2, 3),) * LENGTH,
}  # fmt: skip

Tokens = dict[str, int]


# -- what a term says, by itself -------------------------------------------------------------------------


def value(expr: Expr, at: Tokens) -> Fraction:
    """An expression of tokens, exactly."""
    match expr:
        case Const(value=number):
            return Fraction(number)
        case Index(name=name):
            return Fraction(at[name])
        case Read(tensor=tensor, subscripts=(Index(name=name),)):
            return Fraction(VALUES[tensor][at[name]])
        case Read(tensor=tensor, subscripts=()):
            return Fraction(VALUES[tensor][0])
        case Neg(operand=operand):
            return -value(operand, at)
        case Add(terms=terms):
            return sum((value(t, at) for t in terms), Fraction(0))
        case Mul(factors=factors):
            result = Fraction(1)
            for factor in factors:
                result *= value(factor, at)
            return result
        case Div(numerator=top, denominator=bottom):
            return value(top, at) / value(bottom, at)
        case Pow(base=base, exponent=exponent):
            return value(base, at) ** int(value(exponent, at))
        case Iverson(condition=condition):
            return Fraction(holds(condition, at))
    raise TypeError(expr)


def holds(condition: Cond, at: Tokens) -> bool:
    assert isinstance(condition, Compare)
    left, right = value(condition.left, at), value(condition.right, at)
    return {"<": left < right, "<=": left <= right, "==": left == right}[condition.op]


def decayed(decay: Decayed, at: Tokens) -> Fraction:
    """The product of the gates between two tokens, its ends as said."""
    first = at[decay.early] + (not decay.with_early)
    last = at[decay.late] - (not decay.with_late)
    return _product(decay.gate, range(first, last + 1))


def _product(gate: Gate, tokens: Sequence[int]) -> Fraction:
    result = Fraction(1)
    for token in tokens:
        result *= value(gate.value, {TOKEN: token})
    return result


def matrix(relation: Relation, at: Tokens) -> Fraction:
    """One element of a relation."""
    if isinstance(relation, Dense) and relation.factor is not None:
        return value(relation.factor, at)
    conditions, decays = relation.dense()
    if not all(holds(c, at) for c in conditions):
        return Fraction(0)
    result = Fraction(1)
    for decay in decays:
        result *= decayed(decay, at)
    return result


def scanned(scan: Scan, at: Tokens) -> Fraction:
    """One element of a scan: the gates of the tokens after the write, up to the read or before it."""
    steps = at[scan.read] - at[scan.write]
    if scan.reverse:
        steps = -steps
    if steps < scan.strict:
        return Fraction(0)
    result = Fraction(1)
    for gate in scan.gates:
        ends = sorted((at[scan.write], at[scan.read]))
        between = list(range(ends[0], ends[1] + 1))
        between.remove(at[scan.write])
        if not gate.inclusive:
            assert scan.strict
            between.remove(at[scan.read])
        result *= _product(gate.gate, between)
    return result


def total(term: Term, output: Tokens, scans: Sequence[Scan] = ()) -> Fraction:
    """The sum over the bound tokens."""
    names = [b.name for b in term.bound]
    result = Fraction(0)
    for chosen in product(range(LENGTH), repeat=len(names)):
        at = output | dict(zip(names, chosen, strict=True))
        element = value(term.scale, at)
        for scan in scans:
            element *= scanned(scan, at)
        for relation in term.relations:
            element *= element and matrix(relation, at)
        for factor in term.factors:
            element *= element and value(factor, at)
        result += element
    return result


def check_exact(term: Term, outputs: Sequence[str] = ("i",)) -> list[LinearTerm]:
    """The linear terms are forests that say what the term says."""
    found = linear_terms(term, frozenset(outputs), N, Log(), None)
    for linear in found:
        assert not linear.term.relations
        assert len({s.write for s in linear.scans}) == len(linear.scans)  # every token flows one way
    for chosen in product(range(LENGTH), repeat=len(outputs)):
        at = dict(zip(outputs, chosen, strict=True))
        split = sum((total(t.term, at, t.scans) for t in found), Fraction(0))
        assert split == total(term, at), (at, found)
    return found


# -- terms -------------------------------------------------------------------------------------------------


def reads(*tokens: str) -> tuple[Expr, ...]:
    return tuple(Read(name, (Index(token),)) for name, token in zip("xyzw", tokens, strict=False))


def term(*relations: Relation, tokens: str = "iju", factors: tuple[Expr, ...] = ()) -> Term:
    """A factor for each token, all but i summed."""
    bound = tuple(Bind(t, N) for t in tokens if t != "i")
    return Term(ONE, (*reads(*tokens), *factors), relations, bound)


P = Gate(Read("p", (Index(TOKEN),)), False)
R = Gate(Read("r", (Index(TOKEN),)), False)
CONSTANT = Gate(Read("s", ()), False)


def power(early: str, late: str, offset: int = 0) -> Dense:
    """s ** (late - early + offset) as it is found."""
    exponent = Add((Index(late), Neg(Index(early)), Const(offset)))
    base = Read("s", ())
    scale: Expr = Pow(base, Const(offset)) if offset else ONE
    return Dense(
        early,
        late,
        decay=Decayed(CONSTANT, early, late, False, True),
        factor=Pow(base, exponent),
        scale=scale,
    )


def test_relations_of_one_pair_meet() -> None:
    met = merge(term(Order("j", "i"), Order("j", "i", True, (Decay(P),)), tokens="ij"))
    assert met is not None and met.relations == (Order("j", "i", True, (Decay(P),)),)


def test_a_decay_meets_its_order() -> None:
    loose = Dense("j", "i", decay=Decayed(P, "j", "i", False, True))
    met = merge(term(loose, Order("j", "i"), tokens="ij"))
    assert met is not None and met.relations == (Order("j", "i", False, (Decay(P),)),)


def test_a_power_with_an_offset_leaves_a_scale_once() -> None:
    found = check_exact(term(power("j", "i", 1), Order("j", "i"), tokens="ij"))
    assert len(found) == 1 and found[0].term.scale == Pow(Read("s", ()), Const(1))


def test_a_power_turned_round() -> None:
    (found,) = check_exact(term(power("i", "j"), Order("j", "i"), tokens="ij"))
    assert len(found.scans) == 1


def test_a_power_is_split_into_both_orders() -> None:
    found = check_exact(term(power("j", "i"), tokens="ij"))
    assert [s.reverse for t in found for s in t.scans] == [False, True]


def test_a_chain_loses_what_follows_from_it() -> None:
    (found,) = check_exact(term(Order("u", "j"), Order("j", "i"), Order("u", "i")))
    assert {(s.write, s.read) for s in found.scans} == {("u", "j"), ("j", "i")}


def test_the_decay_of_a_removed_edge_is_pushed_onto_the_path() -> None:
    (found,) = check_exact(term(Order("u", "j"), Order("j", "i"), Order("u", "i", False, (Decay(P),))))
    assert [len(s.gates) for s in found.scans] == [1, 1]


def test_a_strict_edge_over_a_path_that_is_not() -> None:
    """[u < i] = [u < j][j <= i] + [u = j][j < i]: split on equality, never dropped."""
    found = check_exact(term(Order("u", "j"), Order("j", "i"), Order("u", "i", True)))
    assert len(found) == 2
    assert sorted(len(t.scans) for t in found) == [1, 2]


def test_a_strict_link_is_enough() -> None:
    assert len(check_exact(term(Order("u", "j", True), Order("j", "i"), Order("u", "i", True)))) == 1


def test_a_diamond_is_split_by_its_incomparable_pair() -> None:
    edges = (Order("j", "i"), Order("u", "i"), Order("l", "j"), Order("l", "u"))
    found = check_exact(term(*edges, tokens="ijul"))
    assert len(found) == 2 and all(len(t.scans) == 3 for t in found)


def test_a_tree_in_any_direction_is_one_term() -> None:
    (found,) = check_exact(term(Order("i", "j"), Order("u", "j"), Order("u", "l"), tokens="ijul"))
    assert {(s.write, s.read, s.reverse) for s in found.scans} == {
        ("j", "i", True), ("u", "j", False), ("l", "u", True),
    }  # fmt: skip


def test_a_cycle_of_not_strict_orders_is_one_token() -> None:
    (found,) = check_exact(term(Order("j", "u"), Order("u", "j"), Order("j", "i")))
    assert len(found.scans) == 1


def test_a_cycle_with_a_strict_order_is_zero() -> None:
    assert check_exact(term(Order("j", "u", True), Order("u", "j"), Order("j", "i"))) == []


def test_a_pair_in_both_strict_orders_is_zero() -> None:
    assert check_exact(term(Order("j", "i", True), Order("i", "j", True), tokens="ij")) == []


def test_equality_renames() -> None:
    equal = Dense("j", "u", Compare("==", Index("j"), Index("u")))
    (found,) = check_exact(term(equal, Order("j", "i")))
    assert len(found.scans) == 1 and len(found.term.bound) == 1


@pytest.mark.parametrize("with_early", (False, True))
@pytest.mark.parametrize("with_late", (False, True))
@pytest.mark.parametrize("strict", (False, True))
@pytest.mark.parametrize("early", ("j", "i"))
def test_the_ends_of_a_decay(with_early: bool, with_late: bool, strict: bool, early: str) -> None:
    late = "i" if early == "j" else "j"
    found = check_exact(term(Order(early, late, strict, (Decay(P, with_early, with_late),)), tokens="ij"))
    open_at_the_read = not (with_late if late == "i" else with_early)
    assert len(found) == (2 if open_at_the_read and not strict else 1)  # the diagonal is a term of its own


@pytest.mark.parametrize("with_early", (False, True))
@pytest.mark.parametrize("with_late", (False, True))
def test_a_decay_without_an_order(with_early: bool, with_late: bool) -> None:
    loose = Dense("j", "i", decay=Decayed(P, "j", "i", with_early, with_late))
    check_exact(term(loose, tokens="ij"))
    check_exact(term(loose, Order("i", "j"), tokens="ij"))
    check_exact(term(loose, Order("i", "j", True), tokens="ij"))
    check_exact(term(loose, Order("j", "u"), Order("u", "i")))


def test_other_conditions_have_no_scan() -> None:
    odd = Compare("<=", Mul((Const(2), Index("j"))), Index("i"))
    with pytest.raises(NoScan, match="has no scan"):
        check_exact(term(Dense("i", "j", odd, text="2 * j <= i"), tokens="ij"))


def test_two_tokens_of_the_output() -> None:
    with pytest.raises(NoScan, match="two tokens"):
        check_exact(term(Order("j", "i"), tokens="ij"), ("i", "j"))


def test_without_an_output_the_last_token_is_the_root() -> None:
    (found,) = check_exact(replace(term(Order("u", "j"), tokens="uj")), ())
    assert found.scans == (Scan("u", "j", False, False),)


# -- random relations --------------------------------------------------------------------------------------


def random_term(seed: int) -> Term:
    """Up to four tokens, orders either way, strict or not, decays of every kind on any pair."""
    random = Random(seed)
    tokens = "ijul"[: random.choice((2, 3, 3, 4))]
    relations: list[Relation] = []
    for _ in range(random.choice((1, 2, 2, 3, 3, 4))):
        early, late = random.sample(tokens, 2)
        decays = tuple(
            Decay(random.choice((P, R, CONSTANT)), random.random() < 0.4, random.random() < 0.6)
            for _ in range(random.choice((0, 0, 0, 1, 2)))
        )
        relations.append(Order(early, late, random.random() < 0.4, decays))
    for _ in range(random.choice((0, 0, 1, 2))):
        early, late = random.sample(tokens, 2)
        kind = random.random()
        if kind < 0.4:
            relations.append(power(early, late, random.choice((0, 0, 1, 2))))
        elif kind < 0.9:
            ends = random.random() < 0.4, random.random() < 0.6
            relations.append(Dense(early, late, decay=Decayed(random.choice((P, R)), early, late, *ends)))
        else:
            relations.append(Dense(early, late, Compare("==", Index(early), Index(late))))
    return term(*relations, tokens=tokens)


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_random_relations(start: int) -> None:
    split = 0
    for seed in range(start, start + 50):
        try:
            split += bool(check_exact(random_term(seed)))
        except NoScan as problem:
            assert "too many chains" in problem.reason, seed
    assert split > 25
