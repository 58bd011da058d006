"""Programs in Triton's interpreter: `python -m tests.backends.triton_cases NAME ...`.

Interpreter and compiler cannot share a process, so the tests call this one. Names are those of the
catalogue and of `triton_others`, `NAME_grad` the gradient; each is compared with its definition in every
form, whole and token by token, with fused kernels and with narrow ones, features of several tiles too.
Buffers that nothing has written hold NaN, and every element that is read or written lies in a tensor.
Prints a line of JSON for each.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"

import torch  # noqa: E402

import tensorc  # noqa: E402
from tensorc import runtime  # noqa: E402
from tensorc.verify_torch import Poisoned  # noqa: E402
from tests.agreement import check_forms  # noqa: E402
from tests.backends import triton_guard  # noqa: E402
from tests.backends.triton_others import OTHERS  # noqa: E402

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TILES = {"chunk": 16, "columns": 16, "tile": 16}
CASES: tuple[tuple[dict[str, int], tuple[int, ...], dict[str, int]], ...] = (
    (TILES, (0, 1, 17), {}),
    (TILES | {"columns": 32, "split": True}, (35,), {}),
    (TILES | {"split": True}, (18,), {"d": 19, "e": 17}),
)
SMALL = {"w": 4, "b": 4}
FORMS = ("chunkwise", "recurrent")
POLES = ("cosformer_grad",)  # no backend keeps 0 · (0 / 0) from a gradient where the definition has 0


def program_text(name: str) -> str:
    """The text of a program of the catalogue, or of `OTHERS`, or of its gradient."""
    plain = name.removesuffix("_grad")
    text = OTHERS.get(plain) or (EXAMPLES / f"{plain}.tc").read_text(encoding="utf-8")
    return str(tensorc.grad(text)) if name.endswith("_grad") else text


def program_has_chunks(text: str) -> bool:
    """Whether a program is computed in chunks; the parallel form is for those that are not."""
    return tensorc.compile(text).forms.exists("chunkwise")


def poison() -> None:
    """Let the uninitialised memory of generated modules hold NaN."""
    plain = runtime.load

    def load(source: str) -> dict[str, object]:
        functions = plain(source)
        for function in functions.values():
            names = getattr(function, "__globals__", {})
            if names.get("torch") is torch:
                names["torch"] = Poisoned()
        return functions

    from tensorc import forms

    forms.load = load  # type: ignore[assignment]


def check(name: str) -> str:
    """Compare one program with its definition; what differs, or nothing."""
    text = program_text(name)
    program = tensorc.parse(text)
    sizes = {size: SMALL.get(size, 3) for size, _ in program.defaults}
    for number, (options, lengths, features) in enumerate(CASES):
        try:
            check_forms(
                text,
                lengths,
                sizes=sizes,
                features=features,
                backend="triton",
                dtype="float32",
                forms=FORMS[: 1 if features else 2] if program_has_chunks(text) else ("parallel",),
                stream=number == 0,
                options=options,
                seed=number,
                positive=name in POLES,
            )
        except Exception:
            return f"{options} {features}\n{traceback.format_exc()}"
    return ""


def main() -> None:
    triton_guard.install()
    poison()
    for name in sys.argv[1:]:
        start = time.monotonic()
        problem = check(name)
        print(json.dumps({"name": name, "problem": problem, "seconds": time.monotonic() - start}), flush=True)


if __name__ == "__main__":
    main()
