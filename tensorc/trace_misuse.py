"""What must not happen to a traced value, and what to write instead."""

from __future__ import annotations

from typing import Any, NoReturn

from tensorc.errors import LanguageError

_IF = (
    "tensorc.where(condition, a, b) chooses between values; & | ~ join conditions and `and`, `or`, `not`, "
    "`in` cannot; u <= j <= i is (u <= j) & (j <= i); built-in max and min are tensorc.maximum and minimum."
)
_PARENTHESES = (
    "& and | bind tighter than comparisons: write (j <= i) | (j < t). "
    "A mask of numbers is a condition as m[i, j] != 0."
)
_PASS = "Pass it as an input: name it in the header and among the parameters, and give it to every call."


class TraceAttributeError(LanguageError, AttributeError):
    """An attribute that a traced value does not have."""


class Misuse:
    """The Python protocols that a traced value refuses, each with its reason."""

    __slots__ = ("__weakref__",)

    __iter__: Any = None  # the built-in sum would never end
    __contains__: Any = None
    __array_ufunc__: Any = None  # an array on the left of an operator leaves it to the traced value

    def __bool__(self) -> NoReturn:
        raise LanguageError(f"`{self!r}` has no truth value while the function is traced.", hint=_IF)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise TraceAttributeError(
            f"A traced value has no attribute {name}.",
            hint="It stands for one number at open indices: sums, sizes and functions are tensorc.sum(e, c), "
            'tensorc.sizes("d"), tensorc.exp(e), ...',
        )

    def __len__(self) -> NoReturn:
        no_number(self, "length")

    def __index__(self) -> NoReturn:
        no_number(self, "integer value")

    def __int__(self) -> NoReturn:
        no_number(self, "integer value")

    def __float__(self) -> NoReturn:
        no_number(self, "floating value")

    def __complex__(self) -> NoReturn:
        no_number(self, "complex value")

    def __array__(self, *args: object, **kwargs: object) -> NoReturn:
        raise LanguageError(f"`{self!r}` cannot become an array, nor index one, while traced.", hint=_PASS)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> NoReturn:
        name = getattr(function, "__name__", "function")
        raise LanguageError(
            f"torch ({name}) meets a traced value.",
            hint=f"Functions are tensorc.exp(e), tensorc.softmax(e, j), ... A tensor or parameter: {_PASS}",
        )

    def _mixed(self, other: object) -> NoReturn:
        raise LanguageError(f"`{self!r}` and `{other!r}` joined by & or |.", hint=_PARENTHESES)

    def __and__(self, other: object) -> Any:
        self._mixed(other)

    def __or__(self, other: object) -> Any:
        self._mixed(other)

    def __rand__(self, other: object) -> Any:
        self._mixed(other)

    def __ror__(self, other: object) -> Any:
        self._mixed(other)

    def __xor__(self, other: object) -> Any:
        self._mixed(other)

    def __rxor__(self, other: object) -> Any:
        self._mixed(other)

    def __invert__(self) -> Any:
        raise LanguageError(f"~ of `{self!r}`, which is not a condition.", hint=_PARENTHESES)

    def __matmul__(self, other: object) -> NoReturn:
        raise LanguageError("@ is not in the language.", hint="Write the indices: q[i, c] * k[j, c].")

    def __rmatmul__(self, other: object) -> NoReturn:
        self.__matmul__(other)


def has_traced(values: tuple[object, ...]) -> bool:
    """Whether some value stands for numbers of a running trace."""
    return any(isinstance(value, Misuse) for value in values)


def no_number(value: object, what: str) -> NoReturn:
    """Raises: a traced value is asked for its number."""
    raise LanguageError(
        f"`{value!r}` has no {what} while the function is traced.",
        hint="Use tensorc.exp, tensorc.sqrt, ... instead of math; range() and len() need Python numbers, "
        "such as an argument that is not in the header; an array that is indexed by it must be an input.",
    )


def no_operand(value: object) -> NoReturn:
    """Raises: a value that cannot stand in an equation."""
    from tensorc.trace_condition import Condition

    if isinstance(value, Condition):
        raise LanguageError(
            f"`{value!r}` is a condition; as a number write tensorc.iverson({value!r}).",
            hint="Conditions stand in the domain of a reduction, in iverson, and first in where.",
        )
    kind = f"{type(value).__module__}.{type(value).__name__}".removeprefix("builtins.")
    if hasattr(value, "__array__") or hasattr(value, "__dlpack__"):
        shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
        raise LanguageError(f"A {kind}{shape} stands in an equation.", hint=_PASS)
    if callable(value):
        raise LanguageError(f"The function {value!r} stands in an equation.", hint="Call it.")
    raise LanguageError(
        f"{value!r} ({kind}) cannot stand in an equation.",
        hint="Equations hold reads of tensors, indices, sizes and finite real numbers.",
    )
