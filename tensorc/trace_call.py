"""A jitted function called while another is traced: a call of one program by another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from tensorc.errors import LanguageError
from tensorc.grammar.syntax import CallStatement, Definition, Name
from tensorc.trace_expr import Operand, Tensor
from tensorc.trace_misuse import has_traced
from tensorc.trace_state import Trace, assigned_name, current, user_frame

if TYPE_CHECKING:
    from tensorc.decorator import Jit, Request

_running: ContextVar[tuple[object, ...]] = ContextVar("tensorc_calls", default=())


def nested(callee: Jit, request: Request) -> Any:
    """The outputs of a jitted function with a header on traced tensors: a program of its own."""
    state = current()
    if state is None:
        raise LanguageError(
            f"{callee._name} is called on a traced value outside of its trace.",
            hint="Traced values live only while the function that made them runs.",
        )
    tensors = [_argument(callee, n, v) for n, v in zip(request.inputs, request.values, strict=True)]
    if has_traced(tuple(request.constants.values())):
        raise LanguageError(
            f"{callee._name} takes a traced value for an argument that is not in its header.",
            hint="A jitted function without a header is a macro and takes indices and sizes too.",
        )
    definition = _definition(callee, request, state)
    return _call(state, definition, tensors)


def _argument(callee: Jit, name: str, value: object) -> Tensor:
    if isinstance(value, Tensor):
        value.check_trace()
        return value
    if isinstance(value, Operand):
        raise LanguageError(
            f"{callee._name} takes a tensor for {name}, not the expression {value!r}.",
            hint="Define it first: (...)[i, c].",
        )
    raise LanguageError(
        f"{callee._name} takes a tensor of this trace for {name}, not {type(value).__name__}.",
        hint="Pass it as an input of the function that is traced.",
    )


@contextmanager
def _entered(callee: Jit, key: object) -> Iterator[None]:
    """Refuses a program that calls itself."""
    mark = (callee._function, key)
    if mark in _running.get():
        raise LanguageError(
            f"{callee._name} calls itself.",
            hint="Calls are not recursive; a recurrence reads its own tensor at earlier positions, w[i - 1].",
        )
    token = _running.set((*_running.get(), mark))
    try:
        yield
    finally:
        _running.reset(token)


def _definition(callee: Jit, request: Request, state: Trace) -> Definition:
    """The callee's definition among those of this trace, under a name of its own."""
    from tensorc.trace_program import record

    signature = callee._signature
    assert signature is not None
    if request.sizes:
        sizes = {**signature.defaults, **request.sizes}
        signature = dataclasses.replace(signature, parameters=tuple((Name(n), v) for n, v in sizes.items()))
    with _entered(callee, request.key()):
        recording = record(callee._function, signature, name=callee._name, constants=request.constants)
    names: dict[str, str] = {}
    for inner in (*recording.callees, recording.definition):
        definition = _install(_renamed(inner, names), state)
        names[inner.name] = definition.name
    return definition


def _renamed(definition: Definition, names: dict[str, str]) -> Definition:
    """The definition with the programs that it calls under other names."""
    statements = tuple(
        dataclasses.replace(s, program=names[s.program]) if isinstance(s, CallStatement) else s
        for s in definition.statements
    )
    return dataclasses.replace(definition, statements=statements)


def _install(definition: Definition, state: Trace) -> Definition:
    """Adds a definition to those of a trace, under a name that no different one has."""
    name, number = definition.name, 2
    while True:
        named = dataclasses.replace(definition, name=name)
        if name != state.function and state.definitions.setdefault(name, named) == named:
            return named
        name, number = f"{definition.name}_{number}", number + 1


def _call(state: Trace, definition: Definition, arguments: list[Tensor]) -> Any:
    frame = user_frame()
    wish = assigned_name(frame) if len(definition.outputs) == 1 else None
    targets = [
        Tensor(state, wish or output.name, tuple(map(str, output.axes))) for output in definition.outputs
    ]
    statement = CallStatement(
        tuple(Name(t.token) for t in targets), definition.name, tuple(Name(t.token) for t in arguments)
    )
    state.state(statement, 4 + 2 * (len(targets) + len(arguments)), frame)
    return targets[0] if len(targets) == 1 else tuple(targets)
