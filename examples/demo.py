"""The main job on real text: two equations become an operator that runs in blocks and token by token.

    make demo            or: python examples/demo.py [--words N]

1. Read `examples/hla2.tc` and print what the compiler found: the order of contraction and its cost.
2. Turn the text of Python's own help (`pydoc_data.topics`, some 465 kB of English) into features.
   Every word and every punctuation mark is one token. Three hash functions, one for each of q, k and
   v, give a word 64 bytes (BLAKE2b of the word, personalised by the letter). Each byte, read as a
   number from -128 to 127, is one feature; a token's features are scaled to length one. Different
   words are nearly orthogonal. Nothing is random: the same Python gives the same numbers.
3. Run the whole text in chunks, again token by token, and once more as a prefix with single steps after
   it. The definition itself would take a cube of tokens; it is evaluated on the first few only.
4. Compare them all with the chunkwise form in float64, and verify the program exactly.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import time
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import tensorc

PROGRAM = Path(__file__).with_name("hla2.tc")
WIDTH = 64  # d and e: one byte of the hash for each feature
STEPS = 1000  # tokens that follow the prefix one by one
SHORT = 48  # tokens for the definition

Features = NDArray[np.floating[Any]]
Rows = list[tuple[str, int, float, float]]


def tokens(limit: int | None) -> tuple[int, list[str]]:
    """The size of the text in bytes, and its words and punctuation marks."""
    text = "\n".join(topics[name] for name in sorted(topics))
    return len(text.encode()), re.findall(r"\w+|[^\w\s]", text)[:limit]


def features(words: list[str], letter: str) -> Features:
    """One row of length one for each token: the bytes of its hash."""
    vocabulary = {word: row for row, word in enumerate(dict.fromkeys(words))}
    table = np.empty((len(vocabulary), WIDTH), np.float32)
    for word, row in vocabulary.items():
        digest = hashlib.blake2b(word.encode(), digest_size=WIDTH, person=letter.encode()).digest()
        table[row] = np.frombuffer(digest, np.int8)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    return table[[vocabulary[word] for word in words]]


def clocked(call: Any, *arguments: Any) -> tuple[Any, float]:
    """The result and the seconds it took."""
    start = time.perf_counter()
    result = call(*arguments)
    return result, time.perf_counter() - start


def distance(result: Features, gold: Features) -> float:
    """The largest difference, relative to the largest number."""
    return float(np.abs(result - gold).max() / np.abs(gold).max())


def in_steps(operator: Any, q: Features, k: Features, v: Features) -> Features:
    """The rows after a prefix: prefill, then one token at a time, as a text generator would."""
    prefix = len(q) - min(STEPS, len(q))
    _, state = operator.prefill(q[:prefix], k[:prefix], v[:prefix])
    rows = []
    for i in range(prefix, len(q)):
        row, state = operator.step(state, q[i], k[i], v[i])
        rows.append(row)
    return np.stack(rows)


def run_forms(q: Features, k: Features, v: Features) -> tuple[Rows, float]:
    """For every form its tokens, seconds and largest error in float32; and how far apart chunks and single
    tokens are in float64."""
    chunkwise = tensorc.compile(PROGRAM, form="chunkwise")
    recurrent = tensorc.compile(PROGRAM, form="recurrent")
    reference = tensorc.compile(PROGRAM, backend="reference")
    wide = [x.astype(np.float64) for x in (q, k, v)]
    gold = chunkwise(*wide)

    whole, tail, head = slice(None), slice(-min(STEPS, len(q)), None), slice(0, SHORT)
    rows: Rows = []
    for name, operator, part in [
        ("chunkwise, the whole text", chunkwise, whole),
        ("token by token, the whole text", recurrent, whole),
        (f"prefix, then {STEPS} single steps", lambda *x: in_steps(chunkwise, *x), tail),
        ("the definition, the first tokens", reference, head),
    ]:
        inputs = [x[head] if part is head else x for x in (q, k, v)]
        result, seconds = clocked(operator, *inputs)
        rows.append((name, len(inputs[0]), seconds, distance(result, gold[part])))
    return rows, distance(recurrent(*wide), gold)


def print_rows(console: Console, rows: Rows) -> None:
    """The table of forms."""
    table = Table(
        title="float32; errors against float64, relative to the largest output of the tokens compared"
    )
    for heading in ("form", "tokens", "seconds", "tokens/s", "max error"):
        table.add_column(heading, justify="left" if heading == "form" else "right")
    for name, count, seconds, error in rows:
        table.add_row(name, f"{count:,}", f"{seconds:.2f}", f"{count / seconds:,.0f}", f"{error:.1e}")
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description="Second-order attention over the text of Python's help.")
    parser.add_argument("--words", type=int, default=None, metavar="N", help="only the first N words")
    size, words = tokens(parser.parse_args().words)
    console = Console(highlight=False, markup=False, soft_wrap=True)

    console.rule("the program")
    console.print(PROGRAM.read_text())
    console.rule("what the compiler found")
    console.print(str(tensorc.compile(PROGRAM).report(n=len(words), d=WIDTH, e=WIDTH)))

    console.rule("every form, on real text")
    console.print(f"{size:,} bytes of text, {len(words):,} tokens, {len(set(words)):,} different ones")
    q, k, v = (features(words, letter) for letter in "qkv")
    rows, difference = run_forms(q, k, v)
    print_rows(console, rows)
    # The rounding error of a sum of n terms is at most n eps, relative to the terms.
    narrow, wide = (float(np.finfo(t).eps * len(words)) for t in (np.float32, np.float64))
    worst = max(error for *_, error in rows)
    agree = difference <= wide and worst <= narrow
    console.print(f"float64: chunks and single tokens differ by {difference:.1e}; tolerance {wide:.1e}.")
    console.print(f"float32: the largest error is {worst:.1e}; tolerance {narrow:.1e}.")
    console.print("All forms agree." if agree else "The forms DISAGREE.")

    console.rule("verified exactly")
    result, seconds = clocked(tensorc.compile(PROGRAM).verify)
    console.print(f"{result}\n({seconds:.1f} s)")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
