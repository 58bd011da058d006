"""The words of NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tensorc.backends.python_layout import bare

FUNCTIONS = {
    "wide": "np.array({0}, np.float64)",
    "narrow": "({0}).astype(compute, copy=False)",
    "exp": "np.exp({0})",
    "log": "np.log({0})",
    "sqrt": "np.sqrt({0})",
    "rsqrt": "1 / np.sqrt({0})",
    "abs": "np.abs({0})",
    "sign": "np.sign({0})",
    "tanh": "np.tanh({0})",
    "sigmoid": "_sigmoid({0})",
    "silu": "_silu({0})",
    "gelu": "_gelu({0})",
    "relu": "np.maximum({0}, 0)",
    "elu": "_elu({0})",
    "softplus": "_softplus({0})",
    "cos": "np.cos({0})",
    "sin": "np.sin({0})",
    "maximum": "np.maximum({0}, {1})",
    "minimum": "np.minimum({0}, {1})",
}
FOLDS = {
    "sum": ("np.add", "0"),
    "prod": ("np.multiply", "1"),
    "max": ("np.maximum", "-np.inf"),
    "min": ("np.minimum", "np.inf"),
}


class NumPy:
    """`Library` for NumPy."""

    functions: Mapping[str, str] = FUNCTIONS
    module = "np"
    compute = "np.float32"
    wide = "np.float64"
    typed_sizes = True
    in_place = True
    quiet = 'with np.errstate(all="ignore"):'

    def call(self, function: str, arguments: Sequence[str], plain: Sequence[bool], given: bool) -> str:
        text = FUNCTIONS[function].format(*arguments)
        return f"({text})" if function == "rsqrt" else text

    def cast(self, text: str) -> str:
        return f"{text}.astype(compute, copy=False)"

    def convert(self, text: str) -> str:
        return f"{text}.astype(compute)"

    def scalar(self, text: str) -> str:
        return f"compute({text})"

    def array(self, text: str) -> str:
        return f"np.asarray({text})"

    def whole(self, text: str) -> str:
        return f"np.asarray({text}, compute)"

    def positions(self, bounds: str) -> str:
        return f"np.arange({bounds})"

    def indicator(self, mask: str, plain: bool) -> str:
        return f"np.asarray({bare(mask)}).astype(compute)"

    def where(self, mask: str, then: str, otherwise: str, plain: bool = False) -> str:
        return f"np.where({bare(mask)}, {then}, {otherwise})"

    def opposite(self, mask: str, plain: bool) -> str:
        return f"np.logical_not({mask})"

    def square(self, text: str) -> str:
        return f"np.square({text})"

    def power(self, base: str, exponent: str) -> str:
        return f"np.power({base}, {exponent})"

    def clipped(self, text: str) -> str:
        return f"np.maximum({bare(text)}, 0)"

    def quotient(self, top: str, bottom: str) -> str:
        return f"{top} / {bottom}"

    def summed(self, text: str, axes: Sequence[int]) -> str:
        return f"{text}.sum(axis={tuple(axes) if len(axes) > 1 else axes[0]})"

    def reduced(self, op: str, body: str, mask: str, axis: str) -> str:
        if op == "logsumexp":
            return f"_logsumexp({body}, {mask}, {axis})"
        ufunc, start = FOLDS[op]
        return f"_reduce({ufunc}, {body}, {mask}, {start}, {axis})"

    def literal(self, value: int) -> str:
        return f"compute({value})"

    def future(self, length: str, strict: bool, features: int) -> str:
        return f"_future({length}, {strict}, {features}, compute)"

    def zeros(self, shape: str) -> str:
        return f"np.zeros({shape}, compute)"

    def empty(self, shape: str, dtype: str) -> str:
        return f"np.empty({shape}, {dtype})"

    def triangle(self, size: str, strict: bool) -> str:
        return f"np.tri({size}, {'k=-1, ' if strict else ''}dtype=compute)"

    def band(self, size: str, width: str) -> str:
        return f"np.tri({size}, k={width} - 1, dtype=compute).T"

    def broadcast(self, text: str, shape: str, dtype: str) -> str:
        return f"np.array(np.broadcast_to({text}, {shape}), {dtype})"

    def rounded(self, text: str) -> str:
        return f"_cast({text}, dtype)"

    def spread(self, text: str, shape: str) -> str:
        return f"_spread({text}, {shape}, compute)"

    def shapes(self, shapes: str) -> str:
        return f"np.broadcast_shapes({shapes})"

    def copy(self, text: str) -> str:
        return f"{text}.copy()"

    def subscript(self, marks: Sequence[str]) -> str:
        return f"np.s_[{', '.join(marks)}]"

    def first(self, op: str) -> str:
        return FOLDS[op][1]

    def begin(self, shape: str, op: str) -> str:
        return f"_begin({shape}, {FOLDS[op][1]}, compute)"

    def raised(self, op: str, running: str, addend: str) -> str:
        return f"np.{op}imum({running}, {addend}, out={running})"

    def nowhere(self, mask: str) -> str:
        return f"not {mask}.any()"

    def sum_into(self, left: str, right: str, target: str) -> str | None:
        return f"np.add({left}, {right}, out={target})"


NUMPY = NumPy()
