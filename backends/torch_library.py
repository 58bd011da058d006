"""The words of PyTorch.

Sizes stay numbers of Python: they promote nothing and need no copy to a device. A number that a function
needs as a tensor becomes one on the CPU, which every device takes beside its own tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tensorc.backends.python_layout import bare

FUNCTIONS = {
    "wide": "({0}).to(torch.float64, copy=True)",
    "narrow": "({0}).to(compute)",
    "exp": "torch.exp({0})",
    "log": "torch.log({0})",
    "sqrt": "torch.sqrt({0})",
    "rsqrt": "torch.rsqrt({0})",
    "abs": "torch.abs({0})",
    "sign": "torch.sign({0})",
    "tanh": "torch.tanh({0})",
    "sigmoid": "torch.sigmoid({0})",
    "silu": "torch.nn.functional.silu({0})",
    "gelu": "torch.nn.functional.gelu({0})",
    "relu": "torch.relu({0})",
    "elu": "torch.nn.functional.elu({0})",
    "softplus": "_softplus({0})",
    "cos": "torch.cos({0})",
    "sin": "torch.sin({0})",
    "maximum": "torch.maximum({0}, {1})",
    "minimum": "torch.minimum({0}, {1})",
}
STARTS = {"sum": "0.0", "prod": "1.0", "max": "-math.inf", "min": "math.inf"}
BOUNDS = {"maximum": "min", "minimum": "max"}  # of torch.clamp


class Torch:
    """`Library` for PyTorch. Without `in_place` nothing is overwritten, so that autograd can follow."""

    functions: Mapping[str, str] = FUNCTIONS
    module = "torch"
    compute = "torch.float32"
    wide = "torch.float64"
    typed_sizes = False
    quiet = ""

    def __init__(self, in_place: bool) -> None:
        self.in_place = in_place

    def call(self, function: str, arguments: Sequence[str], plain: Sequence[bool], given: bool) -> str:
        if function in BOUNDS:
            if all(plain) and given:
                return f"{function[:3]}({', '.join(arguments)})"
            if plain[0] != plain[1]:
                tensor, number = arguments if plain[1] else arguments[::-1]
                return f"torch.clamp({tensor}, {BOUNDS[function]}={number})"
        elif all(plain) and given:
            arguments = [f"torch.as_tensor({a}, dtype=torch.float64)" for a in arguments]
        return FUNCTIONS[function].format(*arguments)

    def cast(self, text: str) -> str:
        return f"{text}.to(compute)"

    def convert(self, text: str) -> str:
        return f"{text}.to(compute)"

    def scalar(self, text: str) -> str:
        return f"torch.as_tensor({text}, dtype=compute)"

    def array(self, text: str) -> str:
        return f"torch.as_tensor({text})"

    def whole(self, text: str) -> str:
        return f"torch.as_tensor({text}, dtype=compute, device=device)"

    def positions(self, bounds: str) -> str:
        return f"torch.arange({bounds}, device=device)"

    def indicator(self, mask: str, plain: bool) -> str:
        return f"float({bare(mask)})" if plain else f"{mask}.to(compute)"

    def where(self, mask: str, then: str, otherwise: str, plain: bool = False) -> str:
        mask = f"torch.as_tensor({bare(mask)}, device=device)" if plain else bare(mask)
        return f"torch.where({mask}, {then}, {otherwise})"

    def opposite(self, mask: str, plain: bool) -> str:
        return f"(not {mask})" if plain else f"torch.logical_not({bare(mask)})"

    def square(self, text: str) -> str:
        return f"({text}) ** 2"

    def power(self, base: str, exponent: str) -> str:
        return f"torch.pow({base}, {exponent})"

    def clipped(self, text: str) -> str:
        return f"{text}.clamp(min=0)"

    def quotient(self, top: str, bottom: str) -> str:
        return f"_real({top}) / {bottom}"

    def summed(self, text: str, axes: Sequence[int]) -> str:
        return f"{text}.sum({tuple(axes) if len(axes) > 1 else axes[0]})"

    def reduced(self, op: str, body: str, mask: str, axis: str) -> str:
        if op == "logsumexp":
            return f"_logsumexp({body}, {mask}, {axis})"
        return f'_reduce("{op}", {body}, {mask}, {axis})'

    def literal(self, value: int) -> str:
        return str(value)

    def future(self, length: str, strict: bool, features: int) -> str:
        return f"_future({length}, {strict}, {features}, compute, device)"

    def zeros(self, shape: str) -> str:
        return f"torch.zeros({shape}, dtype=compute, device=device)"

    def empty(self, shape: str, dtype: str) -> str:
        return f"torch.empty({shape}, dtype={dtype}, device=device)"

    def triangle(self, size: str, strict: bool) -> str:
        return f"torch.ones({size}, {size}, dtype=compute, device=device).tril({-1 if strict else ''})"

    def band(self, size: str, width: str) -> str:
        return f"torch.ones({size}, {size}, dtype=compute, device=device).triu(1 - ({width}))"

    def broadcast(self, text: str, shape: str, dtype: str) -> str:
        return f"_whole({text}, {shape}, {dtype})"

    def rounded(self, text: str) -> str:
        return f"{text}.to(dtype)"

    def spread(self, text: str, shape: str) -> str:
        return f"_spread({text}, {shape}, compute, device)"

    def shapes(self, shapes: str) -> str:
        return f"_batch({shapes})"

    def copy(self, text: str) -> str:
        return f"{text}.clone()"

    def subscript(self, marks: Sequence[str]) -> str:
        words = {":": "_ALL", "-1:": "_LAST"}
        return f"({', '.join(words.get(mark, mark) for mark in marks)})"

    def first(self, op: str) -> str:
        return STARTS[op]

    def begin(self, shape: str, op: str) -> str:
        return f"torch.full({shape}, {STARTS[op]}, dtype=compute, device=device)"

    def raised(self, op: str, running: str, addend: str) -> str:
        return f"{running} = torch.{op}imum({running}, {addend})"

    def nowhere(self, mask: str) -> str:
        return f"_nowhere({mask})"

    def sum_into(self, left: str, right: str, target: str) -> str | None:
        return None  # `out=` takes no other dtype, and autograd does not follow it


IN_PLACE = Torch(True)
FUNCTIONAL = Torch(False)
