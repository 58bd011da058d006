"""A program as a layer: projections, heads, gates and decays, as the inputs of the program need them."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module

from tensorc.compiler import compile as compile_program
from tensorc.errors import FormError, ShapeError
from tensorc.ir import Extent, Program, TensorDecl
from tensorc.nn.convolution import document_starts
from tensorc.nn.inputs import Place
from tensorc.nn.output import Output
from tensorc.nn.projection import Features, Inputs
from tensorc.nn.roles import Tokens, roles_of
from tensorc.nn.sizes import module_sizes
from tensorc.nn.usage import averages
from tensorc.state import State


class AttentionState(NamedTuple):
    """What a layer keeps between tokens: the state of its program, and the last tokens of its convolution."""

    program: State
    convolution: Tensor | None

    @property
    def position(self) -> int:
        """How many tokens it has seen."""
        return self.program.position

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        return self.program.nbytes + (0 if self.convolution is None else int(self.convolution.nbytes))


class Attention(Module):
    """Any program as a layer x[batch, n, width] -> y[batch, n, width].

    What the layer needs is read off the program: `roles_of` says which input is a query, a key, a value, a
    gate, a decay or a learned constant, and `roles` corrects it. All inputs of a token come from one
    projection. `heads` are leading dimensions of the program; a program whose own axes are heads, such as
    q[n, h, d], takes their number in `sizes`. With `kv_heads` all inputs but queries have fewer heads.

    - `features`: feature map of queries and keys ("identity", "unit", "silu", "elu + 1", ..., or a function
      of a tensor), or one for each input by name. None: "unit" if the program refers to itself, so that a
      state can only shrink along a key; else "identity".
    - `spans`: the shortest and longest memory of decays at the start, in tokens.
    - `initial`: first values of gates (before the sigmoid), decays (likewise) and constants, by name.
    - `conv`: taps of a short convolution before queries, keys and values; 0 is none.
    - `norm`: whether the output of a head is normalised; None: unless the program does so itself.
    - `gate`: whether the output is multiplied by silu of a projection of the token.
    - `memory`: the size that counts the tokens of another sequence; `time` that of this one, where the
      program leaves it open.

    >>> import torch
    >>> layer = Attention("examples/gated.tc", 32, heads=4)
    >>> layer.roles
    {'q': 'query', 'k': 'key', 'v': 'value', 'g': 'log_decay'}
    >>> x = torch.randn(2, 10, 32)
    >>> y, state = layer.prefill(x[:, :9])
    >>> last, state = layer.step(state, x[:, 9])
    >>> torch.allclose(last, layer(x)[:, 9], atol=1e-5), state.position
    (True, 10)

    Raises `ShapeError` for sizes that are not known or do not fit, `TensorcError` for a role or a feature
    map that does not exist, `FormError` where no axis of the program counts tokens.
    """

    def __init__(
        self,
        program: str | Path | Program,
        width: int,
        *,
        heads: int = 1,
        kv_heads: int | None = None,
        sizes: Mapping[str, int] | None = None,
        roles: Mapping[str, str] | None = None,
        features: Features = None,
        spans: tuple[float, float] = (8.0, 1024.0),
        initial: Mapping[str, float | Tensor] | None = None,
        conv: int = 0,
        norm: bool | None = None,
        gate: bool = False,
        time: str | None = None,
        memory: str | None = None,
        name: str | None = None,
        form: str = "auto",
    ) -> None:
        super().__init__()
        self.width = width
        self.operator = compile_program(
            program, backend="torch", name=name, form=form, time=time, sizes=sizes
        )
        self.program: Program = self.operator.program
        self.tokens = Tokens(self._time(), _axis(self.program, memory))
        self.roles = roles_of(self.program, self.tokens, roles)
        groups = _groups(heads, kv_heads)
        if len(groups) == 2 and "query" not in self.roles.values():
            raise ShapeError(
                f"kv_heads={kv_heads}: heads of a group differ by their queries, and {self.program.name} has "
                f"none. Leave kv_heads out, or say which input is one: roles={{name: 'query'}}."
            )
        self.sizes = module_sizes(self.program, self.tokens, width, prod(groups), sizes or {})
        places = {i.name: self._place(i, groups) for i in self.program.inputs}
        self.inputs = Inputs(self.program, self.tokens, places, width, features, spans, initial or {}, conv)
        norm = not averages(self.program) if norm is None else norm
        self.output = Output(self.program, self.tokens, self.sizes, groups, width, norm, gate)

    def _time(self) -> Extent:
        """The axis that counts tokens: that of the operator; without one, the first of two of the output."""
        output = self.program.outputs[0]
        if self.operator.time is not None:
            return self.operator.time
        if len(output.axes) != 2:
            raise FormError(
                f"Which axis of {output.name}[{', '.join(map(str, output.axes))}] counts tokens? No relation "
                f"says so: pass time={str(output.axes[0]) if output.axes else 'n'!r}, or another."
            )
        return output.axes[0]

    def _place(self, declaration: TensorDecl, groups: tuple[int, ...]) -> Place:
        """Where an input stands. All but queries are shared by the heads of a group."""
        role, axes, tokens = self.roles[declaration.name], declaration.axes, self.tokens
        rest = tuple(a.value(self.sizes) for a in tokens.others(axes))
        counted = tokens.among(axes)
        time = len(axes) - axes.index(counted[0]) if counted else 0
        heads = groups if role == "query" or len(groups) < 2 else (groups[0], 1)
        return Place(declaration.name, role, heads, rest, time, tokens.memory in counted)

    def forward(
        self,
        x: Tensor,
        *,
        state: AttentionState | None = None,
        memory: Tensor | None = None,
        given: Mapping[str, Any] | None = None,
        cu_seqlens: Tensor | None = None,
    ) -> Tensor:
        """y[batch, n, width] for x[batch, n, width]; with `state`, of a sequence that continues.

        `memory[batch, m, width]` is the other sequence of a program that reads two (x itself, if left out),
        `given` holds the inputs that do not come from x, by name. `cu_seqlens` are the bounds of documents
        packed along n, as for an operator.
        """
        if state is not None:
            return self.prefill(x, state=state, memory=memory, given=given)[0]
        if cu_seqlens is None:
            inputs, _ = self.inputs(x, True, None, memory, given or {}, None)
            return self.output(self.operator(*inputs), x, True)
        bounds = torch.as_tensor(cu_seqlens, device=x.device)
        starts = document_starts(bounds, x.shape[-2])
        inputs, _ = self.inputs(x, True, None, memory, given or {}, starts)
        return self.output(self.operator(*inputs, cu_seqlens=bounds), x, True)

    def prefill(
        self,
        x: Tensor,
        *,
        state: AttentionState | None = None,
        memory: Tensor | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, AttentionState]:
        """y and the state after x[batch, n, width]."""
        program, mixed = (None, None) if state is None else state
        inputs, mixed = self.inputs(x, True, mixed, memory, given or {}, None)
        outputs, program = self.operator.prefill(*inputs, state=program)
        return self.output(outputs, x, True), AttentionState(program, mixed)

    def step(
        self,
        state: AttentionState,
        x: Tensor,
        *,
        memory: Tensor | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, AttentionState]:
        """y[batch, width] and the state after one more token, x[batch, width]. The old state stays valid."""
        inputs, mixed = self.inputs(x, False, state.convolution, memory, given or {}, None)
        outputs, program = self.operator.step(state.program, *inputs)
        return self.output(outputs, x, False), AttentionState(program, mixed)

    def init_state(
        self, x: Tensor, *, memory: Tensor | None = None, given: Mapping[str, Any] | None = None
    ) -> AttentionState:
        """The state before any token; shapes and dtype from an example, x[batch, width]."""
        inputs, mixed = self.inputs(x, False, None, memory, given or {}, None)
        start = None if mixed is None else torch.zeros_like(mixed)
        return AttentionState(self.operator.init_state(*inputs), start)

    def extra_repr(self) -> str:
        return str(self.program).split("\n", 1)[0].removeprefix("def ").removesuffix(":")


def _axis(program: Program, memory: str | None) -> Extent | None:
    if memory is None:
        return None
    if memory not in program.sizes():
        sizes = ", ".join(program.sizes())
        raise FormError(f"memory={memory!r} is no size of {program.name}. The sizes are {sizes}.")
    return Extent(1, (memory,))


def _groups(heads: int, kv_heads: int | None) -> tuple[int, ...]:
    """The leading dimensions of queries: none for one head, (groups, heads of each) with `kv_heads`."""
    if heads < 1 or (kv_heads is not None and (kv_heads < 1 or heads % kv_heads)):
        shared = "" if kv_heads is None else f" and kv_heads={kv_heads}"
        raise ShapeError(f"heads={heads}{shared}: both are 1 or more, and kv_heads divides heads.")
    if kv_heads is not None and kv_heads != heads:
        return (kv_heads, heads // kv_heads)
    return (heads,) if heads > 1 else ()
