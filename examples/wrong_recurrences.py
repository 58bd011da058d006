"""Three published recurrences that do not compute what they are said to, and the inputs that show it.

    python examples/wrong_recurrences.py

Higher-order linear attention (Zhang, Qin, Gu 2025, arXiv 2510.27258) gives streaming recurrences for
masked second- and third-order attention, with an optional decay, and an operator that combines segments
in a scan. They are written here as its project page prints them. The second-order recurrence without
decay is right. Its decayed kind, the decayed scan and the third-order recurrence are not: tensorc finds
small integers on which they differ from their definitions. Of a definition it derives the recurrences
itself, and proves them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tensorc

SECOND = """
def second(q[n, d], k[n, d], v[n, e], gamma[]) -> o[n, e]:
    S[i, a, b] = gamma * S[i - 1, a, b] + k[i, a] * k[i, b]
    C[i, a, x] = gamma * C[i - 1, a, x] + q[i, a] * v[i, x]
    G[i, a, x] = gamma * G[i - 1, a, x] + k[i, a] * k[i, b] * C[i - 1, b, x]
    o[i, x] = q[i, a] * S[i, a, b] * C[i, b, x] - q[i, a] * G[i, a, x]
"""

# The mask keeps u <= j. S and C decay to the present token, as in the recurrence.
SECOND_MEANT = """
def second_meant(q[n, d], k[n, d], v[n, e], gamma[]) -> o[n, e]:
    s[i, j] = q[i, c] * k[j, c]
    D[i, j] = gamma ** (i - j)
    o[i, x] = sum[u <= j <= i](D[i, u] * D[i, j] * s[i, u] * s[j, u] * v[j, x])
"""

# Or W itself decays, in ((W W^T) o L) V.
SECOND_OTHER = """
def second_other(q[n, d], k[n, d], v[n, e], gamma[]) -> o[n, e]:
    w[i, j] = gamma ** (i - j) * (q[i, c] * k[j, c])
    o[i, x] = sum[u <= j <= i](w[i, u] * w[j, u] * v[j, x])
"""

# Three segments, combined from the left and from the right; rb and rc are gamma to their lengths. "Decay
# multiplies left segments before forming cross-terms": G of A and B is rb GA + GB + SB (rb CA).
SEGMENTS = "CA[d, e], GA[d, e], SB[d, d], CB[d, e], GB[d, e], SC[d, d], GC[d, e], rb[], rc[]"
FROM_LEFT = f"""
def from_left({SEGMENTS}) -> G[d, e]:
    CAB[a, x] = rb * CA[a, x] + CB[a, x]
    GAB[a, x] = rb * GA[a, x] + GB[a, x] + rb * (SB[a, b] * CA[b, x])
    G[a, x] = rc * GAB[a, x] + GC[a, x] + rc * (SC[a, b] * CAB[b, x])
"""
FROM_RIGHT = f"""
def from_right({SEGMENTS}) -> G[d, e]:
    SBC[a, b] = rc * SB[a, b] + SC[a, b]
    GBC[a, x] = rc * GB[a, x] + GC[a, x] + rc * (SC[a, b] * CB[b, x])
    G[a, x] = rb * rc * GA[a, x] + GBC[a, x] + rb * rc * (SBC[a, b] * CA[b, x])
"""

THIRD = """
def third(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    S[i, a, b] = S[i - 1, a, b] + k[i, a] * k[i, b]
    Q[i, a, b] = Q[i - 1, a, b] + q[i, a] * q[i, b]
    P[i, a, x] = P[i - 1, a, x] + k[i, a] * v[i, x]
    u1[i, a] = Q[i - 1, a, b] * k[i, b]
    a2[i, a] = S[i - 1, a, b] * q[i, b]
    a3[i, a] = S[i - 1, a, b] * u1[i, b]
    G1[i, a, x] = G1[i - 1, a, x] + k[i, a] * (u1[i, b] * P[i - 1, b, x])
    G2[i, a, x] = G2[i - 1, a, x] + a2[i, a] * (q[i, b] * P[i - 1, b, x])
    G3[i, a, x] = G3[i - 1, a, x] + a3[i, a] * v[i, x]
    z[i, c] = Q[i, c, b] * (S[i, b, a] * q[i, a])
    o[i, x] = z[i, c] * P[i, c, x] - q[i, a] * (G1[i, a, x] + G2[i, a, x] + G3[i, a, x])
"""


@dataclass(frozen=True)
class Claim:
    """A published program, and what it is said to be."""

    title: str
    published: str
    definition: str | Path
    holds: bool = False


def undecayed(text: str) -> str:
    """The program with gamma = 1."""
    return text.replace(", gamma[]", "").replace("gamma * ", "").replace("gamma ** (i - j)", "1")


CLAIMS = (
    Claim("second order, masked, without decay", undecayed(SECOND), undecayed(SECOND_MEANT), holds=True),
    Claim("second order with decay: the decayed sums, masked", SECOND, SECOND_MEANT),
    Claim("second order with decay: decayed weights, masked", SECOND, SECOND_OTHER),
    Claim("its scan: (A + B) + C is A + (B + C)", FROM_LEFT, FROM_RIGHT),
    Claim("third order, masked", THIRD, Path(__file__).with_name("hla3.tc")),
)


def main() -> None:
    for claim in CLAIMS:
        found = tensorc.disagreement(claim.published, claim.definition)
        print(f"{claim.title}: {'agrees' if found is None else 'differs'}")
        if found is not None:
            print(f"{found}\n")
    print("What follows from the definitions, found and proved exactly:")
    for title, program in (("second order with decay", SECOND_MEANT), ("third order", CLAIMS[-1].definition)):
        operator = tensorc.compile(program)
        forms = operator.report(n=4096, d=64, e=64).to_dict()["forms"]
        checked = operator.verify(time_limit=5)
        state = forms["recurrent"]["state_elements"]
        print(f"{title}: a state of {state} numbers, {checked.evaluations} evaluations agree")


if __name__ == "__main__":
    main()
