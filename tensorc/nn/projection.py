"""From tokens to all inputs of a program: one projection, a short convolution, and what each input needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear, Module

from tensorc.errors import ShapeError, TensorcError
from tensorc.ir import Program
from tensorc.nn.convolution import ShortConvolution
from tensorc.nn.inputs import FeatureMap, Input, Place, feature_map
from tensorc.nn.roles import VECTORS, Tokens
from tensorc.nn.usage import additive, refers_to_itself

Features = str | FeatureMap | Mapping[str, str | FeatureMap] | None


class Inputs(Module):
    """The inputs of a program from tokens x[..., n, width], and with them the state of the convolution."""

    def __init__(
        self,
        program: Program,
        tokens: Tokens,
        places: Mapping[str, Place],
        width: int,
        features: Features,
        spans: tuple[float, float],
        initial: Mapping[str, float | Tensor],
        conv: int,
    ) -> None:
        super().__init__()
        self.program, self.tokens, self.places, self.width = program, tokens, places, width
        maps = _feature_maps(program, places, features)
        for name in initial:
            if name not in places:
                raise TensorcError(
                    f"initial= names {name}; the inputs of {program.name} are {', '.join(places)}."
                )
        for name, place in places.items():
            if place.role != "given":
                first = first_value(program, place, initial.get(name))
                self.add_module(f"input_{name}", Input(place, maps[name], spans, first))
        made = [p for p in places.values() if p.projected]
        # Vectors come first: the convolution takes one slice of the projection.
        self._own = sorted((p for p in made if not p.memory), key=lambda p: p.role not in VECTORS)
        self._theirs = [p for p in made if p.memory]
        self._mixed = sum(p.width for p in self._own if p.role in VECTORS)
        self.project = Linear(width, sum(p.width for p in self._own), bias=False)
        self.memory = Linear(width, sum(p.width for p in self._theirs), bias=False) if self._theirs else None
        self.convolution = ShortConvolution(self._mixed, conv) if conv else None

    def forward(
        self,
        x: Tensor,
        sequence: bool,
        mixed: Tensor | None,
        memory: Tensor | None,
        given: Mapping[str, Any],
        starts: Tensor | None,
    ) -> tuple[list[Any], Tensor | None]:
        """For x[..., n, width] with `sequence`, else x[..., width]: the inputs in the order of the program,
        and the state `mixed` of the convolution after them."""
        _check_width(x, self.width, "x")
        raw = self.project(x)
        if self.convolution is not None:
            vectors, others = raw.split([self._mixed, raw.shape[-1] - self._mixed], -1)
            vectors = vectors if sequence else vectors.unsqueeze(-2)
            vectors, mixed = self.convolution(vectors, mixed, starts)
            raw = torch.cat([vectors if sequence else vectors.squeeze(-2), others], -1)
        pieces = _split(raw, self._own)
        if self.memory is not None:
            source = x if memory is None else memory
            _check_width(source, self.width, "memory")
            pieces |= _split(self.memory(source), self._theirs)
        elif memory is not None:
            raise TensorcError(f"{self.program.name} reads one sequence: the layer was made without memory=.")
        batch = x.dim() - 1 - sequence
        inputs = [self._input(p, pieces, batch, sequence, given) for p in self.places.values()]
        return inputs, mixed

    def _input(
        self,
        place: Place,
        pieces: Mapping[str, Tensor],
        batch: int,
        sequence: bool,
        given: Mapping[str, Any],
    ) -> Any:
        if place.role == "given":
            return self._given(place, batch, sequence, given)
        make = self.get_submodule(f"input_{place.name}")
        if not place.projected:
            return make(None)
        piece = pieces[place.name]
        made = make(piece.unflatten(-1, place.shape) if place.shape else piece.squeeze(-1))
        return place.arrange(made) if sequence or place.memory else made

    def _given(self, place: Place, batch: int, sequence: bool, given: Mapping[str, Any]) -> Any:
        """What the caller passes; where it has a batch, it is the same for all heads."""
        if place.name not in given:
            raise TensorcError(f"{place.name} comes with the call: given={{{place.name!r}: ...}}.")
        value = given[place.name]
        declaration = next(i for i in self.program.inputs if i.name == place.name)
        axes = sum(sequence or a != self.tokens.time for a in declaration.axes)
        if isinstance(value, Tensor) and batch and value.dim() == batch + axes:
            for _ in place.heads:
                value = value.unsqueeze(batch)
        return value


def first_value(program: Program, place: Place, value: float | Tensor | None) -> Tensor | None:
    """What is learned starts as asked for; else a factor as 1, a term as 0, a matrix as noise."""
    if value is not None:
        return torch.as_tensor(value, dtype=torch.get_default_dtype())
    if place.role != "constant":
        return None
    if additive(program, place.name):
        return torch.zeros(())
    if len(place.rest) < 2:
        return torch.ones(())
    return torch.randn(place.shape) * place.rest[-1] ** -0.5


def _feature_maps(program: Program, places: Mapping[str, Place], features: Features) -> dict[str, FeatureMap]:
    """The feature map of every input."""
    default: str | FeatureMap = "unit" if refers_to_itself(program) else "identity"
    named: Mapping[str, str | FeatureMap] = {}
    if isinstance(features, Mapping):
        named = features
    elif features is not None:
        default = features
    for name in named:
        if name not in places or places[name].role not in VECTORS:
            vectors = ", ".join(n for n, p in places.items() if p.role in VECTORS)
            raise TensorcError(f"features= names {name}; the queries, keys and values are {vectors}.")
    return {
        name: feature_map(named.get(name, default if place.role in ("query", "key") else "identity"))
        for name, place in places.items()
    }


def _split(raw: Tensor, places: list[Place]) -> dict[str, Tensor]:
    """What was projected, by input."""
    parts = raw.split([p.width for p in places], -1)
    return {p.name: part for p, part in zip(places, parts, strict=True)}


def _check_width(x: Tensor, width: int, name: str) -> None:
    if x.shape[-1:] != (width,):
        raise ShapeError(f"{name} has the shape {tuple(x.shape)}; this layer takes [batch, n, {width}].")
