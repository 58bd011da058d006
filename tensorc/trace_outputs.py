"""The end of a trace: what the function returned, and names for all that it made."""

from __future__ import annotations

from dataclasses import dataclass

from tensorc.errors import LanguageError
from tensorc.grammar.syntax import Assignment, Definition, Name
from tensorc.ir import Read
from tensorc.signature import Signature, declared
from tensorc.trace_axes import Axes
from tensorc.trace_expr import Operand, Tensor
from tensorc.trace_state import RESERVED, Trace, user_frame
from tensorc.trace_text import label, write
from tensorc.trace_walk import letters_of

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


def returned_tensors(result: object, signature: Signature | None, state: Trace) -> list[Tensor]:
    """The tensors that a function returned; scalars may be returned as expressions."""
    returned = list(result) if isinstance(result, tuple | list) else [result]
    if signature is not None and len(returned) != len(signature.outputs):
        wanted = ", ".join(map(declared, signature.outputs))
        raise LanguageError(
            f"{state.function} returns {len(returned)} tensors; its header has "
            f"{len(signature.outputs)}: {wanted}.",
            hint="Return one tensor for each output, in the order of the header.",
        )
    if not returned:
        raise LanguageError(f"{state.function} returns nothing.", hint="Return outputs: return (...)[i, x].")
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


def finish(state: Trace, signature: Signature | None, outputs: list[Tensor]) -> Recording:
    for tensor in state.tensors.values():
        if tensor.kind == "forward" and tensor.axes is None:
            raise LanguageError(
                f"The tensor {tensor.label} is announced but never defined.",
                hint=f"Define it by assignment: {tensor.label}[i, x] = ...",
            )
    fixed = None if signature is None else [d.name for d in signature.outputs]
    inputs = {t.token: t.label for t in state.tensors.values() if t.kind == "input"}
    outputs = _own_outputs(state, outputs)
    names = _names(state, outputs, fixed)
    targets = {tensor.token: names[tensor.token] for tensor in outputs}
    if signature is not None:
        given, parameters, returned = signature.inputs, signature.parameters, signature.outputs
    else:
        equations = [s for s in state.statements if isinstance(s, Assignment)]
        if len(equations) < len(state.statements):
            raise LanguageError(
                f"{state.function} calls another program and has no header, so its axes are unknown.",
                hint='Write a header: @tensorc.jit("q[n, d], ... -> o[n, e]").',
            )
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


def _names(state: Trace, outputs: list[Tensor], fixed: list[str] | None) -> dict[str, str]:
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
