"""What others wrote for the programs that are measured on a GPU, called with our inputs in their layouts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import tensorc
from benchmarks.operators import EXAMPLES

Kernel = Callable[..., Any]  # of the inputs in the order of the program's signature, to the output


@dataclass(frozen=True)
class Peer:
    """A kernel of someone else's.

    `load` imports it, raising `ImportError` or `AttributeError` where it is not there. `tokens_first`: its
    tensors are [B, T, H, D], else [B, H, T, D]. `trains`: it has a backward pass.
    """

    name: str
    load: Callable[[], Kernel]
    tokens_first: bool = True
    trains: bool = True

    def layout(self, tensor: Any) -> Any:
        """One of our inputs [B, H, T, ...] in their layout, contiguous; a number a head stays as it is."""
        return turned(tensor).contiguous() if self.tokens_first and tensor.dim() > 1 else tensor

    def ours(self, output: Any) -> Any:
        """Their output in our layout."""
        return turned(output) if self.tokens_first else output


def turned(tensor: Any) -> Any:
    """[B, H, T, ...] as [B, T, H, ...] and back."""
    return tensor.transpose(1, 2)


def fla(operator: str, function: str, *names: str, **options: Any) -> Kernel:
    """A kernel of flash-linear-attention. `names` are its keywords for the program's inputs, in the order of
    the signature; an input whose name is "" it has by itself. Some return a state beside the output."""
    kernel = getattr(import_module(f"fla.ops.{operator}"), function)

    def call(*inputs: Any) -> Any:
        given = {name: x for name, x in zip(names, inputs, strict=True) if name}
        found = kernel(**given, **options)
        return found[0] if isinstance(found, tuple) else found

    return call


def _kernels(
    operator: str, *functions: tuple[str, str], trains: tuple[bool, ...] = (), **options: Any
) -> list[Peer]:
    """Peers of flash-linear-attention: functions with their keywords, as one text."""
    able = trains or (True,) * len(functions)
    return [
        Peer(f"fla {function}", partial(fla, operator, function, *_names(names), **options), trains=trained)
        for (function, names), trained in zip(functions, able, strict=True)
    ]


def _names(text: str) -> list[str]:
    return ["" if name == "-" else name for name in text.split()]


def nested(first_order: Callable[[], Kernel], inner: bool) -> Kernel:
    """Two calls of causal linear attention as one second-order operator: of q to what (q, k, k) gives, over
    v, which is `hla2`; with `inner`, of q and k over what (q, k, v) gives, which is `ahla`."""
    kernel = first_order()
    if inner:
        return lambda q, k, v: kernel(q, k, kernel(q, k, v))
    return lambda q, k, v: kernel(q, kernel(q, k, k), v)


def ours_first_order() -> Kernel:
    """Our linear attention."""
    return tensorc.compile(EXAMPLES / "linear_attention.tc", backend="triton")


def _compositions(inner: bool) -> list[Peer]:
    theirs = [
        Peer(f"two calls of {peer.name}", partial(nested, peer.load, inner))
        for peer in PEERS["linear_attention"]
    ]
    return [
        *theirs,
        Peer("two calls of our linear_attention", partial(nested, ours_first_order, inner), False),
    ]


def fused_softmax(causal: bool) -> Kernel:
    """PyTorch's scaled_dot_product_attention, with the backend that it chooses."""
    function = import_module("torch.nn.functional").scaled_dot_product_attention
    return partial(function, is_causal=causal)


def flex(visible: Callable[[Any, Any], Any] | None, compiled: bool = True) -> Kernel:
    """PyTorch's flex_attention, compiled; `visible` says of positions i and j whether i sees j. The masks of
    blocks are made once for a length."""
    module: Any = import_module("torch.nn.attention.flex_attention")
    function = module.flex_attention
    if compiled:
        compiler = import_module("torch.compiler")
        compiler.reset()  # beyond some eight shapes of one function, PyTorch compiles no more
        function = import_module("torch").compile(function, dynamic=False)
    masks: dict[tuple[int, str], Any] = {}

    def call(q: Any, k: Any, v: Any) -> Any:
        n, device = q.shape[-2], str(q.device)
        if visible is not None and (n, device) not in masks:
            rule: Callable[..., Any] = lambda b, h, i, j: visible(i, j)  # noqa: E731 - with its signature
            masks[n, device] = module.create_block_mask(rule, None, None, n, n, device=device)
        return function(q, k, v, block_mask=masks.get((n, device)))

    return call


def earlier(i: Any, j: Any) -> Any:
    """Tokens up to the present one."""
    return j <= i


def recent(i: Any, j: Any, width: int = 128) -> Any:
    """The last `width` tokens, as sliding_window.tc has it."""
    return (j <= i) & (i - j < width)


PEERS: dict[str, list[Peer]] = {
    "linear_attention": _kernels(
        "linear_attn", ("chunk_linear_attn", "q k v"), ("fused_recurrent_linear_attn", "q k v"),
        scale=1.0, normalize=False,
    ),
    "retention": _kernels(  # it makes its own decays, those of our inputs
        "retention", ("chunk_retention", "q k v -"), ("fused_recurrent_retention", "q k v -"), scale=1.0,
    ),
    "scalar_gated": _kernels(
        "simple_gla", ("chunk_simple_gla", "q k v g"), ("fused_recurrent_simple_gla", "q k v g"), scale=1.0,
    ),
    "gated": _kernels("gla", ("chunk_gla", "q k v g"), ("fused_recurrent_gla", "q k v gk"), scale=1.0),
    "delta_rule": _kernels(
        "delta_rule", ("chunk_delta_rule", "q k v beta"), ("fused_recurrent_delta_rule", "q k v beta"),
        scale=1.0,
    ),
    "gated_delta_rule": _kernels(
        "gated_delta_rule", ("chunk_gated_delta_rule", "q k v beta g"),
        ("fused_recurrent_gated_delta_rule", "q k v beta g"), trains=(True, False), scale=1.0,
    ),
    "based": _kernels(
        "based", ("fused_chunk_based", "q k v"), ("parallel_based", "q k v"), scale=1.0, use_norm=True
    ),
    "attention": [
        Peer("flex_attention", partial(flex, None), False),
        Peer("scaled_dot_product_attention", partial(fused_softmax, False), False),
    ],
    "causal_attention": [
        Peer("flex_attention", partial(flex, earlier), False),
        Peer("scaled_dot_product_attention", partial(fused_softmax, True), False),
    ],
    "sliding_window": [Peer("flex_attention", partial(flex, recent), False)],
}  # fmt: skip
PEERS["hla2"] = _compositions(inner=False)
PEERS["ahla"] = _compositions(inner=True)
