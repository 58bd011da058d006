"""Tracing a function: run it once on tensors that stand for its arguments, and lower what it wrote."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from tensorc.errors import LanguageError
from tensorc.ir import Program
from tensorc.signature import Signature, declared, parse_header
from tensorc.trace_errors import traced_error
from tensorc.trace_expr import Tensor
from tensorc.trace_outputs import Recording, finish, returned_tensors
from tensorc.trace_state import Trace, is_name, running

_PROTOCOL = re.compile(r"object is not (iterable|a container)|does not support ufuncs")


def trace(
    function: Callable[..., Any],
    header: str | Signature | None = None,
    *,
    name: str | None = None,
    constants: Mapping[str, object] | None = None,
    inputs: tuple[str, ...] | None = None,
) -> Program:
    """The program that a Python function writes when it runs on traced tensors.

    `header` is a signature such as `"q[n, d], k[n, d] -> s[n, n]"`. Its inputs must be parameters of the
    function; the other parameters take their values from `constants`, else their defaults. Without a
    header the parameters in `inputs` (by default those without a value) are the inputs, and axes follow
    from how they are read. Raises LanguageError for a program that is not in the language.

    >>> from tensorc.tracing import indices
    >>> def gram(x):
    ...     i, j, c = indices("i j c")
    ...     return (x[i, c] * x[j, c])[i, j]
    >>> print(trace(gram, "x[n, d] -> g[n, n]").name)
    gram
    """
    return lower_recording(record(function, header, name=name, constants=constants, inputs=inputs))


def record(
    function: Callable[..., Any],
    header: str | Signature | None = None,
    *,
    name: str | None = None,
    constants: Mapping[str, object] | None = None,
    inputs: tuple[str, ...] | None = None,
) -> Recording:
    """Runs the function on traced tensors: what it wrote, with all names final."""
    signature = parse_header(header) if isinstance(header, str) else header
    program = checked_name(name) if name is not None else program_name(function)
    values = dict(constants or {})
    state = _start(program, signature)
    with running(state):
        arguments = _arguments(function, signature, values, inputs, state)
        result = _call(function, arguments)
        outputs = returned_tensors(result, signature, state)
    return finish(state, signature, outputs)


def lower_recording(recording: Recording) -> Program:
    """The program of a recording; a LanguageError shows the equation and where it was written."""
    from tensorc.grammar.lowering import lower

    definitions = (recording.definition, *recording.callees)
    try:
        return lower(definitions, text=recording.text, name=recording.definition.name)
    except LanguageError as error:
        raise traced_error(error, recording.definition, recording.places, recording.opened) from None


def checked_name(name: object) -> str:
    """A name for a program, as given; a LanguageError if the language does not allow it."""
    if isinstance(name, str) and is_name(name):
        return name
    raise LanguageError(f"{name!r} is no name for a program.", hint="Use ASCII letters, digits and _.")


def program_name(function: Callable[..., Any]) -> str:
    """The name of the function if the language allows it."""
    name = getattr(function, "__name__", "")
    if is_name(name):
        return name
    return f"{name}_" if is_name(f"{name}_") else "f"


def _start(program: str, signature: Signature | None) -> Trace:
    if signature is None:
        return Trace(program, None, {})
    names = {d.name: f"the output {declared(d)}" for d in signature.outputs}
    names |= {d.name: f"the input {declared(d)}" for d in signature.inputs}
    return Trace(program, signature.sizes, names)


def _arguments(
    function: Callable[..., Any],
    signature: Signature | None,
    values: dict[str, object],
    inputs: tuple[str, ...] | None,
    state: Trace,
) -> inspect.BoundArguments:
    """Tensors for the inputs, sizes and Python values for the rest."""
    from tensorc.tracing import OneOfSizes

    shape = inspect.signature(function)
    names = tuple(shape.parameters)
    if signature is not None:
        inputs = tuple(d.name for d in signature.inputs)
    elif inputs is None:
        inputs = tuple(p.name for p in shape.parameters.values() if p.name not in values and _required(p))
    for name in inputs:
        if name not in names:
            raise LanguageError(
                f"The header names the input {name}, which is no parameter of "
                f"{state.function}({', '.join(names)}).",
                hint="Every input of the header is a parameter of the function, by name.",
            )
        if not is_name(name):
            raise LanguageError(f"The parameter {name} cannot name a tensor.", hint="Choose another name.")
    bound = inspect.BoundArguments(shape, {})
    for name in inputs:  # tokens in the order of the inputs
        axes = None if signature is None else signature.axes_of(name)
        bound.arguments[name] = Tensor(state, name, axes, "input")
        if signature is None:
            state.declared[name] = f"the input {name}"
    for name, parameter in shape.parameters.items():
        if name in bound.arguments:
            continue
        if name in values:
            bound.arguments[name] = values[name]
        elif signature is not None and _is_size(parameter, signature):
            bound.arguments[name] = OneOfSizes(name)
        elif _required(parameter):
            raise LanguageError(
                f"The argument {name} of {state.function} has no value and is not in the header.",
                hint=f"Inputs stand in the header; another argument needs a default, {name}=..., or its "
                "value in the call.",
            )
    bound.arguments = {n: bound.arguments[n] for n in names if n in bound.arguments}
    return bound


def _is_size(parameter: inspect.Parameter, signature: Signature) -> bool:
    """Whether a parameter without a value is a size of the header."""
    name = parameter.name
    return name in signature.defaults or (_required(parameter) and name in signature.sizes)


def _required(parameter: inspect.Parameter) -> bool:
    variadic = (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and parameter.kind not in variadic


def _call(function: Callable[..., Any], bound: inspect.BoundArguments) -> object:
    try:
        return function(*bound.args, **bound.kwargs)
    except TypeError as error:
        if _PROTOCOL.search(str(error)) is None or isinstance(error, LanguageError):
            raise
        raise LanguageError(
            f"Python refused a traced value: {error}.",
            hint="Sums, maxima and functions of traced values are tensorc.sum(e, c), tensorc.max(e, c), "
            "tensorc.exp(e); a tensor cannot be iterated, its indices run by themselves.",
        ) from error
