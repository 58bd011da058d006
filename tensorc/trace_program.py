"""Tracing a function: run it once on tensors that stand for its arguments, and lower what it wrote."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tensorc.errors import LanguageError
from tensorc.grammar.syntax import Assignment, Definition, Name
from tensorc.ir import Program, Read
from tensorc.signature import Signature, declared, parse_header
from tensorc.trace_axes import Axes
from tensorc.trace_errors import traced_error
from tensorc.trace_expr import Operand, Tensor
from tensorc.trace_state import RESERVED, Trace, is_name, running, user_frame
from tensorc.trace_text import label, write
from tensorc.trace_walk import letters_of

_PROTOCOL = re.compile(r"object is not (iterable|a container)|does not support ufuncs")
_LETTERS = tuple("ijluabcfghprstxyzmnkoqvwde") + tuple(f"i{k}" for k in range(100))


@dataclass(frozen=True, slots=True)
class Recording:
    """A traced function before lowering: its definition, those it calls, their text and the places in
    the user's files of each equation; `opened` are the equations made by `[...]` on an expression."""

    definition: Definition
    callees: tuple[Definition, ...]
    text: str
    places: tuple[str, ...]
    opened: frozenset[int]


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
        outputs = _outputs(result, signature, state)
    return _finish(state, signature, outputs)


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


def _outputs(result: object, signature: Signature | None, state: Trace) -> list[Tensor]:
    """The tensors that a function returned; scalars may be returned as expressions."""
    returned = list(result) if isinstance(result, tuple | list) else [result]
    if signature is not None and len(returned) != len(signature.outputs):
        wanted = ", ".join(map(declared, signature.outputs))
        raise LanguageError(
            f"{state.function} returns {len(returned)} tensors; its header has "
            f"{len(signature.outputs)}: {wanted}.",
            hint="Return one tensor for each output, in the order of the header.",
        )
    outputs = []
    for position, value in enumerate(returned):
        axes = None if signature is None else signature.outputs[position].axes
        outputs.append(_output(value, None if axes is None else len(axes), state))
    return outputs


def _output(value: object, axes: int | None, state: Trace) -> Tensor:
    if isinstance(value, Tensor):
        value.check_trace()
        return value
    if value is None:
        raise LanguageError(f"{state.function} returns nothing.", hint="Return outputs: return (...)[i, x].")
    if not isinstance(value, Operand):
        raise LanguageError(
            f"{state.function} returns {value!r}, which is no tensor.",
            hint="Return (...)[i, x], one for each output.",
        )
    if axes != 0:
        letters = ", ".join(state.unused_letters(axes or 2))
        raise LanguageError(
            f"{state.function} returns an expression without its indices.",
            hint=f"Say in which order they are the axes of the output: return (...)[{letters}]"
            + (", or (...)[()] for a scalar." if axes is None else "."),
        )
    return value[()]


def _finish(state: Trace, signature: Signature | None, outputs: list[Tensor]) -> Recording:
    for tensor in state.tensors.values():
        if tensor.kind == "forward" and tensor.axes is None:
            raise LanguageError(
                f"The tensor {tensor.label} is announced but never defined.",
                hint=f"Define it by assignment: {tensor.label}[i, x] = ...",
            )
    fixed = None if signature is None else [d.name for d in signature.outputs]
    inputs = {t.token: t.label for t in state.tensors.values() if t.kind == "input"}
    outputs = _own_outputs(state, outputs)
    names = _names(state, signature, outputs, fixed)
    targets = {tensor.token: names[tensor.token] for tensor in outputs}
    if signature is not None:
        given, parameters, returned = signature.inputs, signature.parameters, signature.outputs
    else:
        equations = [s for s in state.statements if isinstance(s, Assignment)]
        taken = letters_of(state.statements) | set(names.values())
        given, returned = Axes(inputs, equations).declarations(targets, frozenset(taken))
        parameters = ()
    surface = Definition(state.function, given, parameters, returned, tuple(state.statements))
    definition, text = write(surface, names)
    callees = []
    for callee in state.definitions.values():
        written, more = write(callee, {}, text.count("\n") + 1)
        callees.append(written)
        text += more
    return Recording(definition, tuple(callees), text, tuple(state.places), frozenset(state.opened))


def _own_outputs(state: Trace, outputs: list[Tensor]) -> list[Tensor]:
    """Every output its own tensor: an input, or a tensor returned twice, is copied by an equation."""
    own: list[Tensor] = []
    for tensor in outputs:
        if tensor.kind != "input" and tensor not in _Identity(own):
            own.append(tensor)
            continue
        if tensor.axes is None:
            raise LanguageError(
                f"The input {tensor.label} is returned as it is, so its axes are unknown.",
                hint=f"Say its indices: return {tensor.label}[i, c][i, c].",
            )
        avoid = letters_of(state.statements) | set(state.declared) | (state.sizes or frozenset())
        letters = tuple(Name(x) for x in _LETTERS if x not in avoid)[: len(tensor.axes)]
        copy = Tensor(state, label(tensor.token), tuple(x.name for x in letters))
        state.state(Assignment(copy.token, letters, Read(tensor.token, letters)), 8, user_frame())  # type: ignore[arg-type]
        own.append(copy)
    return own


class _Identity:
    """Membership by identity: `in` would compare traced values, which makes conditions."""

    def __init__(self, items: list[Tensor]) -> None:
        self.items = {id(item) for item in items}

    def __contains__(self, item: object) -> bool:
        return id(item) in self.items


def _names(
    state: Trace, signature: Signature | None, outputs: list[Tensor], fixed: list[str] | None
) -> dict[str, str]:
    """A name for every token: those of the header, then the wished ones, made distinct."""
    letters = letters_of(state.statements)
    names = {t.token: t.label for t in state.tensors.values() if t.kind == "input"}
    if fixed is not None:
        names.update({tensor.token: name for tensor, name in zip(outputs, fixed, strict=True)})
    taken = {*letters, *names.values(), *RESERVED, *(state.sizes or ())}
    returned = {tensor.token for tensor in outputs}
    for token, tensor in state.tensors.items():
        if token in names:
            continue
        wish = "o" if token in returned and tensor.label == "t" else tensor.label
        name, number = wish, 2
        while name in taken:
            name, number = f"{wish}_{number}", number + 1
        taken.add(name)
        names[token] = name
    return names


