"""`tensorc.jit`: a Python function as a compiled operator.

The function runs once for every set of Python constants; what it writes on traced tensors is the
program. Calls go to the compiled operator, and so does every attribute that the function lacks.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, overload

from tensorc.compiler import TENSORS
from tensorc.constant_keys import constant_key, identities
from tensorc.errors import LanguageError, TensorcError
from tensorc.ir import Program
from tensorc.signature import Signature, declared, parse_header
from tensorc.trace_misuse import has_traced

Function = Callable[..., Any]


@overload
def jit(header: Function, /) -> Jit: ...
@overload
def jit(
    header: str | None = None, *, name: str | None = None, **options: Any
) -> Callable[[Function], Jit]: ...
def jit(header: Any = None, *, name: str | None = None, **options: Any) -> Any:
    """Compiles a Python function that writes index equations on traced tensors.

    `header` is the signature, such as `"q[n, d], k[m, d], w=64 -> s[n, m]"`; its inputs are parameters of
    the function by name. All other arguments are Python constants: one trace for each of their values.
    Without a header the parameters are the inputs and axes follow from their use. Whatever else it reads,
    attributes of `self` and globals, it reads when it is traced: pass what changes as an argument. `options`
    go to `tensorc.compile`. Raises LanguageError for a malformed header now, for a malformed program at the
    first use.

    >>> from tensorc.tracing import indices
    >>> @jit("x[n, d] -> g[n, n]")
    ... def gram(x):
    ...     i, j, c = indices("i j c")
    ...     return (x[i, c] * x[j, c])[i, j]
    >>> gram
    <tensorc.jit gram: x[n, d] -> g[n, n]>
    """
    if callable(header):
        return Jit(header, None, name, options)
    signature = None if header is None else parse_header(header)
    return lambda function: Jit(function, signature, name, options)


@dataclass(frozen=True, slots=True)
class Request:
    """One use of a function: its inputs with their values, its constants, the sizes given as numbers."""

    inputs: tuple[str, ...]
    values: tuple[Any, ...]
    constants: Mapping[str, Any]
    sizes: Mapping[str, int]
    rest: Mapping[str, Any] = field(default_factory=dict)

    def key(self) -> tuple[object, ...]:
        return self.inputs, tuple(self.sizes.items()), constant_key(dict(self.constants))


class Jit:
    """A function with its traces. Calling it, and every attribute it lacks, goes to the operator."""

    def __init__(
        self, function: Function, signature: Signature | None, name: str | None, options: Mapping[str, Any]
    ) -> None:
        from tensorc.trace_program import checked_name, program_name

        if not callable(function):
            raise LanguageError(
                f"jit decorates a function, not {function!r}.",
                hint='Put it below @staticmethod and @classmethod: @staticmethod, then @tensorc.jit("...").',
            )
        self._function = function
        self._signature = signature
        self._name = program_name(function) if name is None else checked_name(name)
        self._options = dict(options)
        self._first: tuple[Any, ...] = ()
        self._owner: Jit | None = None  # of a method
        self._operators: dict[object, Any] = {}
        self._by_program: dict[object, Any] = {}
        self._shape = inspect.signature(function)
        self._parameters = self._shape.parameters
        self._count, self._direct = self._plain_count(), None
        functools.update_wrapper(self, function)
        if signature is not None:
            _check_parameters(self._name, signature, self._parameters)

    def _plain_count(self) -> int:
        """How many arguments are exactly the inputs in their order; -1 if no call is that plain."""
        inputs = [d.name for d in self._signature.inputs] if self._signature is not None else []
        return len(inputs) if inputs and list(self._parameters)[: len(inputs)] == inputs else -1

    def __get__(self, instance: Any, owner: type | None = None) -> Jit:
        """As a method: `self` is the first constant. The traces are shared."""
        if instance is None:
            return self
        bound: Jit = object.__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound._first, bound._direct = (instance, *self._first), None
        bound._owner = self
        return bound

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._direct is not None and len(args) == self._count and not kwargs and not has_traced(args):
            return self._direct(*args)
        request = self._request(args, kwargs)
        traced = has_traced((*request.values, *request.constants.values()))
        if traced and self._signature is None:
            return self._function(*self._first, *args, **kwargs)  # a macro, in the trace of its caller
        for name, value in zip(request.inputs, request.values, strict=True):
            if value is inspect.Parameter.empty:
                raise TypeError(f"{self._name}() misses the argument {name}")
        if traced:
            from tensorc.trace_call import nested

            return nested(self, request)
        if self._options.get("backend") in TENSORS:
            from torch.compiler import is_compiling

            if is_compiling():
                return self._in_graph(request)
        operator = self._operator(request)
        if len(args) == self._count and not kwargs and not self._first:
            self._direct = operator
        return operator(*request.values, **request.rest)

    def _in_graph(self, request: Request) -> Any:
        """A call in code that PyTorch compiles: one operation of its graph."""
        from tensorc.torch_custom import in_graph

        if request.rest:
            raise TensorcError(
                f"{self._name} takes its inputs alone in compiled code, not {', '.join(request.rest)}. "
                f"Take the operator before: f = {self._name}.compiled(), then f(..., state=state)."
            )
        constants = request.constants
        owner = self if self._owner is None else self._owner
        sizes, names = tuple(request.sizes.items()), tuple(constants)
        text, single = _graph_text(owner, request.inputs, sizes, names, *constants.values())
        found = in_graph(text, request.inputs, request.values, {})
        return found[0] if single else tuple(found)

    def compiled(self, **constants: Any) -> Any:
        """The operator for some values of the constants; the others take their defaults."""
        return self._operator(self._request((), constants))

    @property
    def program(self) -> Program:
        """The traced program, constants at their defaults. Does not compile it."""
        return self._trace(self._request((), {}))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.compiled(), name)

    def __repr__(self) -> str:
        if self._signature is None:
            return f"<tensorc.jit {self._name}>"
        inputs = [declared(d) for d in self._signature.inputs]
        inputs += [f"{name}={value}" for name, value in self._signature.defaults.items()]
        outputs = ", ".join(declared(d) for d in self._signature.outputs)
        return f"<tensorc.jit {self._name}: {', '.join(inputs)} -> {outputs}>"

    def __reduce__(self) -> str:
        """Copied and pickled by name, as functions are."""
        return str(self.__qualname__)

    def _request(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Request:
        """Sorts the arguments of a call: inputs, constants, sizes, and what only the operator knows."""
        takes_any = any(p.kind is p.VAR_KEYWORD for p in self._parameters.values())
        own = {k: v for k, v in kwargs.items() if k in self._parameters or takes_any}
        rest = {k: v for k, v in kwargs.items() if k not in own}
        given = self._shape.bind_partial(*self._first, *args, **own).arguments
        inputs = self._inputs(given)
        constants = {k: v for k, v in given.items() if k not in inputs}
        sizes = {}
        for name in self._signature.defaults if self._signature is not None else ():
            if name in constants:
                sizes[name] = _as_size(name, constants.pop(name))
        values = tuple(given.get(name, inspect.Parameter.empty) for name in inputs)
        return Request(inputs, values, constants, sizes, rest)

    def _inputs(self, given: Mapping[str, Any]) -> tuple[str, ...]:
        """The inputs: those of the header, else the arguments that are arrays or numbers.

        Without a header, a number for a parameter that has a default is a constant.
        """
        if self._signature is not None:
            return tuple(d.name for d in self._signature.inputs)
        names = []
        for name, parameter in self._parameters.items():
            value = given.get(name, parameter.default)
            required = parameter.default is parameter.empty
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            scalar = value is parameter.empty or isinstance(value, int | float)
            if _is_array(value) or (required and scalar):
                names.append(name)
        return tuple(names)

    def _trace(self, request: Request) -> Program:
        from tensorc.trace_program import trace

        return trace(
            self._function,
            self._signature,
            name=self._name,
            constants=request.constants,
            inputs=request.inputs,
        )

    def _operator(self, request: Request) -> Any:
        """The operator of a request, traced and compiled at its first use."""
        key = request.key()
        operator = self._operators.get(key)
        if operator is None:
            program = self._trace(request)
            same = (program, tuple(request.sizes.items()))
            if same not in self._by_program:
                self._by_program.setdefault(same, self._compile(program, request.sizes))
            operator = self._operators.setdefault(key, self._by_program[same])
            _forget_with(key, self._operators)
        return operator

    def _compile(self, program: Program, sizes: Mapping[str, int]) -> Any:
        from tensorc.compiler import compile

        options = dict(self._options)
        if sizes:
            options["sizes"] = {**(options.get("sizes") or {}), **sizes}
        return compile(program, **options)


def _graph_text(
    jit: Jit,
    inputs: tuple[str, ...],
    sizes: tuple[tuple[str, int], ...],
    names: tuple[str, ...],
    *values: Any,
) -> tuple[str, bool]:
    """What stands for the operator in graphs, and whether it has one output."""
    operator = jit._operator(Request(inputs, (), dict(zip(names, values, strict=True)), dict(sizes)))
    return operator.text, operator._single


_graph_text._dynamo_marked_constant = True  # type: ignore[attr-defined]  # nothing of it is data


def _check_parameters(name: str, signature: Signature, parameters: Mapping[str, inspect.Parameter]) -> None:
    """The header's inputs are parameters; a size with a number has no other default."""
    for declaration in signature.inputs:
        if declaration.name not in parameters:
            raise LanguageError(
                f"The header names the input {declaration.name}, which is no parameter of "
                f"{name}({', '.join(parameters)}).",
                hint="Every input of the header is a parameter of the function, by name.",
            )
    for size, number in signature.defaults.items():
        default = parameters[size].default if size in parameters else inspect.Parameter.empty
        if default is not inspect.Parameter.empty and default != number:
            raise LanguageError(
                f"{size} is {number} in the header and {default!r} among the parameters of {name}.",
                hint=f"Write one of them: {size} without a default, or no {size} in the header.",
            )


def _is_array(value: object) -> bool:
    return hasattr(value, "__array__") or hasattr(value, "__dlpack__")


def _as_size(name: str, value: Any) -> int:
    try:
        return int(value.__index__())
    except AttributeError:
        raise TypeError(f"{name} is a size of the header: an integer, not {value!r}") from None


def _forget_with(key: object, operators: dict[object, Any]) -> None:
    """Drops the entry when an object of its key dies: another one may get its address."""
    for identity in identities(key):
        value = identity.value()
        if value is not None and isinstance(identity.target, weakref.ref):
            identity.target = weakref.ref(value, lambda _: operators.pop(key, None))
