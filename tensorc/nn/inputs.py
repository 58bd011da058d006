"""What follows the projection of a token: feature maps, gates and decays; and learned constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log, prod

import torch
from torch import Tensor
from torch.nn import Module, Parameter, functional

from tensorc.errors import TensorcError
from tensorc.nn.roles import DECAYS, SIGNALS, VECTORS

FeatureMap = Callable[[Tensor], Tensor]


def identity(x: Tensor) -> Tensor:
    """As it is."""
    return x


def unit(x: Tensor) -> Tensor:
    """Vectors of length one."""
    return functional.normalize(x, dim=-1)


def silu_unit(x: Tensor) -> Tensor:
    """Mostly positive, of length one."""
    return unit(functional.silu(x))


def elu_plus_one(x: Tensor) -> Tensor:
    """Positive."""
    return functional.elu(x) + 1


def softmax(x: Tensor) -> Tensor:
    """Positive, with sum one."""
    return torch.softmax(x, -1)


FEATURE_MAPS: dict[str, FeatureMap] = {
    "identity": identity,
    "unit": unit,
    "silu": functional.silu,
    "silu unit": silu_unit,
    "relu": functional.relu,
    "elu + 1": elu_plus_one,
    "softmax": softmax,
}


def feature_map(chosen: str | FeatureMap) -> FeatureMap:
    """A feature map by its name, or as it is. Raises `TensorcError` for a name that does not exist."""
    if callable(chosen):
        return chosen
    if chosen not in FEATURE_MAPS:
        names = ", ".join(map(repr, FEATURE_MAPS))
        raise TensorcError(f"No feature map {chosen!r}. There are {names}; or pass a function of a tensor.")
    return FEATURE_MAPS[chosen]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an input stands: its heads, its axes besides tokens, the axis of tokens counted from the end
    (0: none), and whether its tokens are those of the memory."""

    name: str
    role: str
    heads: tuple[int, ...]
    rest: tuple[int, ...]
    time: int
    memory: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """What one token has of it."""
        return (*self.heads, *self.rest)

    @property
    def width(self) -> int:
        """How many numbers one token has of it."""
        return prod(self.shape)

    @property
    def projected(self) -> bool:
        """Whether a projection of the token makes it."""
        return self.time != 0 and self.role != "given"

    def arrange(self, x: Tensor) -> Tensor:
        """[batch, n, heads, rest] as the program has it: [batch, heads, the axes in their order]."""
        return x.movedim(x.dim() - len(self.shape) - 1, x.dim() - self.time)


class Input(Module):
    """What makes one input of a program: the last step after the projection, or a learned constant.

    `spans` are the shortest and the longest memory of a decay, in tokens; they are spread geometrically
    over the last axis (over the heads, where a token has one number a head).
    """

    def __init__(
        self, place: Place, features: FeatureMap, spans: tuple[float, float], initial: Tensor | None
    ):
        super().__init__()
        self.place, self.features = place, features
        self.bias: Parameter | None = None
        if initial is not None:
            self.bias = Parameter(initial.expand(place.shape).clone())
        elif place.role in (*DECAYS, *SIGNALS):
            sign = -1 if place.role == "rate_signal" else 1  # exp(-softplus(z)) is sigmoid(-z)
            self.bias = Parameter(sign * torch.logit(1 - 1 / spread(place, spans)))
        elif place.role not in VECTORS:
            self.bias = Parameter(torch.zeros(place.shape))

    def forward(self, raw: Tensor | None) -> Tensor:
        """The input of a token from its projection [..., width], or the constant."""
        role, bias = self.place.role, self.bias
        if role in VECTORS:
            assert raw is not None
            return self.features(raw)
        assert bias is not None
        z = bias if raw is None else raw + bias
        if role in DECAYS:
            z = z.to(torch.promote_types(z.dtype, torch.float32))  # 1 - 1/1024 is 1 in bfloat16
        if role == "log_decay":
            return functional.logsigmoid(z)
        if role == "rate":
            return -functional.logsigmoid(z)
        return torch.sigmoid(z) if role in ("gate", "decay") else z

    def extra_repr(self) -> str:
        return f"{self.place.name}: {self.place.role} {self.place.shape}"


def spread(place: Place, spans: tuple[float, float]) -> Tensor:
    """Memories of decays, from the shortest to the longest.

    >>> spread(Place("g", "decay", (3,), (), 1), (2.0, 8.0)).tolist()
    [2.0, 4.0, 8.0]
    """
    low, high = spans
    if not 1 < low <= high:
        raise TensorcError(f"spans={spans!r}: decays remember from more than 1 token to as many or more.")
    count = place.rest[-1] if place.rest else prod(place.heads)
    if count == 1:
        return torch.full(place.shape, exp((log(low) + log(high)) / 2))
    row = torch.exp2(torch.linspace(log(low) / log(2), log(high) / log(2), count))
    return row.expand(place.shape) if place.rest else row.reshape(place.shape)
