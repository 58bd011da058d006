"""What an input of a program is for: read off its signature and its equations, never its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from tensorc.errors import TensorcError
from tensorc.ir import Extent, Program, TensorDecl
from tensorc.nn.usage import compared, decays, inside_functions

VECTORS = ("query", "key", "value")  # features of a token
DECAYS = ("decay", "log_decay", "rate")  # in (0, 1); its logarithm; minus its logarithm
SIGNALS = ("decay_signal", "rate_signal")  # the program takes sigmoid of one, softplus of the other
ROLES = (*VECTORS, "gate", *DECAYS, "signal", *SIGNALS, "constant", "given")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The axes that count tokens: those of the sequence itself, and those of another one that it reads."""

    time: Extent
    memory: Extent | None = None

    def among(self, axes: tuple[Extent, ...]) -> list[Extent]:
        """The axes that count tokens, of these."""
        return [axis for axis in axes if axis in (self.time, self.memory)]

    def others(self, axes: tuple[Extent, ...]) -> list[Extent]:
        """The axes that do not: heads and features."""
        return [axis for axis in axes if axis not in (self.time, self.memory)]


def roles_of(program: Program, tokens: Tokens, asked: Mapping[str, str] | None = None) -> dict[str, str]:
    """The role of every input, by name; `asked` names those that the rules get wrong.

    - `given`: data that a condition compares, such as segment ids, and whatever has two axes of tokens,
      comes with the call.
    - `decay`, `log_decay`, `rate`: what is multiplied up over a range of tokens or onto an earlier state;
      what is summed over a range inside exp or softmax; the same with a minus before it.
    - `constant`: an input that belongs to no token is learned. Raised to a distance it is a decay, times a
      distance a rate.
    - `gate`: a number of a token (or of its head); `signal`: one that the program puts into a function;
      `decay_signal`, `rate_signal`: one whose sigmoid is a decay, or whose softplus is a rate.
    - `value`: ends with the last axis of the output; `query`: the first of the rest; `key`: all others.
      Where all end alike the last one is the value.

    >>> import tensorc
    >>> f = tensorc.parse('''
    ... def f(q[n, d], k[n, d], v[n, e], g[n]) -> o[n, e]:
    ...     o[i, x] = sum[j <= i](exp(sum[j < u <= i](g[u])) * q[i, c] * k[j, c] * v[j, x])
    ... ''')
    >>> roles_of(f, Tokens(Extent(1, ("n",))))
    {'q': 'query', 'k': 'key', 'v': 'value', 'g': 'log_decay'}

    Raises `TensorcError` for a role or an input that does not exist.
    """
    found = decays(program, tokens.time) | {name: "given" for name in compared(program)}
    vectors = []
    for declaration in program.inputs:
        name, count = declaration.name, len(tokens.among(declaration.axes))
        if count > 1:
            found[name] = "given"
        elif name in found:
            continue
        elif count == 0:
            found[name] = "constant"
        elif feature_axis(program, declaration, tokens) is None:
            found[name] = "signal" if inside_functions(program, name) else "gate"
        else:
            vectors.append(declaration)
    found |= _vectors(program, vectors, tokens)
    found |= _checked(program, tokens, asked or {})
    return {i.name: found[i.name] for i in program.inputs}


def head_axes(program: Program, tokens: Tokens) -> list[Extent]:
    """The heads that the program itself has: what the output has besides tokens and its last axis."""
    return tokens.others(program.outputs[0].axes)[:-1]


def feature_axis(program: Program, declaration: TensorDecl, tokens: Tokens) -> Extent | None:
    """The axis of the features of a token: the last one that counts neither tokens nor heads."""
    heads = {name for axis in head_axes(program, tokens) for name in axis.names}
    left = [a for a in tokens.others(declaration.axes) if not a.names or not set(a.names) <= heads]
    return left[-1] if left else None


def _vectors(program: Program, inputs: list[TensorDecl], tokens: Tokens) -> dict[str, str]:
    """Queries, keys and values among the inputs that have features."""
    axes = {i.name: feature_axis(program, i, tokens) for i in inputs}
    output = feature_axis(program, program.outputs[0], tokens)
    values = [name for name, axis in axes.items() if axis == output]
    if len(values) == len(axes):
        values = values[-1:]
    rest = [name for name in axes if name not in values]
    return {n: "value" for n in values} | {n: "query" if n == rest[0] else "key" for n in rest}


def _checked(program: Program, tokens: Tokens, asked: Mapping[str, str]) -> dict[str, str]:
    """The roles that were asked for, if they make sense."""
    axes = {i.name: i.axes for i in program.inputs}
    for name, role in asked.items():
        if name not in axes:
            raise TensorcError(f"roles= names {name}; the inputs of {program.name} are {', '.join(axes)}.")
        if role not in ROLES:
            close = get_close_matches(str(role), ROLES, 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise TensorcError(f"{name} cannot be {role!r}.{hint} The roles are {', '.join(ROLES)}.")
        of_tokens, time = len(tokens.among(axes[name])), tokens.time
        if of_tokens == 0 and role not in (*DECAYS, "constant", "given"):
            raise TensorcError(
                f"{name} has no axis {time}: it belongs to no token, so it cannot be a {role}. Without that "
                f"axis it can be {', '.join(('constant', *DECAYS))} or given."
            )
        if of_tokens and role == "constant":
            raise TensorcError(f"{name} has the axis {time}: it differs between tokens, and is no constant.")
        if of_tokens > 1 and role != "given":
            raise TensorcError(f"{name} belongs to pairs of tokens: no {role} of one token. It can be given.")
    return dict(asked)
