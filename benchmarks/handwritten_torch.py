"""PyTorch written by hand: what a careful person writes for one operator on a CPU, the yardstick of the
figures of the torch backend.

Tensors are (heads, tokens, features). Each chunk loop keeps its working set in cache: products that are added
to something are `baddbmm_`, masks are `tril_`, and nothing is allocated twice that can be overwritten.
Every function here is tested against the definition.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def linear_attention(q: Tensor, k: Tensor, v: Tensor, chunk: int) -> Tensor:
    """o[i] = sum[j <= i]((q[i] . k[j]) v[j]), a loop over chunks with the state S = sum(k v^T).

    >>> ones = torch.ones(1, 3, 1)
    >>> linear_attention(ones, ones, ones, chunk=2).flatten().tolist()
    [1.0, 2.0, 3.0]
    """
    output = torch.empty_like(v)
    state = q.new_zeros(q.shape[0], q.shape[2], v.shape[2])
    for start in range(0, q.shape[1], chunk):
        Q, K, V = (x[:, start : start + chunk] for x in (q, k, v))
        KT = K.transpose(1, 2)
        Y = torch.bmm(torch.bmm(Q, KT).tril_(), V)
        output[:, start : start + chunk] = Y.baddbmm_(Q, state)
        state.baddbmm_(KT, V)
    return output


def hla2(q: Tensor, k: Tensor, v: Tensor, chunk: int) -> Tensor:
    """o[i] = sum[u <= j <= i]((q[i] . k[u]) (q[j] . k[u]) v[j]): two linear attentions in one loop."""
    output = torch.empty_like(v)
    M = q.new_zeros(q.shape[0], q.shape[2], q.shape[2])
    S = q.new_zeros(q.shape[0], q.shape[2], v.shape[2])
    for start in range(0, q.shape[1], chunk):
        Q, K, V = (x[:, start : start + chunk] for x in (q, k, v))
        KT = K.transpose(1, 2)
        Z = torch.bmm(torch.bmm(Q, KT).tril_(), K).baddbmm_(Q, M)
        M.baddbmm_(KT, K)
        ZT = Z.transpose(1, 2)
        Y = torch.bmm(torch.bmm(Q, ZT).tril_(), V)
        output[:, start : start + chunk] = Y.baddbmm_(Q, S)
        S.baddbmm_(ZT, V)
    return output


def scalar_gated(q: Tensor, k: Tensor, v: Tensor, g: Tensor, chunk: int) -> Tensor:
    """o[i] = sum[j <= i](exp(sum[j < u <= i](g[u])) (q[i] . k[j]) v[j]), g <= 0 of shape (heads, tokens).

    Only differences of the running sum are exponentiated, and the mask comes before the exponential.
    """
    output = torch.empty_like(v)
    state = q.new_zeros(q.shape[0], q.shape[2], v.shape[2])
    future = torch.full((chunk, chunk), -math.inf, dtype=q.dtype).triu_(1)
    for start in range(0, q.shape[1], chunk):
        Q, K, V = (x[:, start : start + chunk] for x in (q, k, v))
        G = g[:, start : start + chunk].cumsum(1)
        c = G.shape[1]
        D = (G[:, :, None] - G[:, None, :]).add_(future[:c, :c]).exp_()
        Y = torch.bmm(torch.bmm(Q, K.transpose(1, 2)).mul_(D), V)
        output[:, start : start + chunk] = Y.baddbmm_(Q * G.exp()[:, :, None], state)
        state *= G[:, -1].exp()[:, None, None]
        state.baddbmm_((K * D[:, -1, :, None]).transpose(1, 2), V)
    return output


def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, chunk: int) -> Tensor:
    """w[i] = beta[i] (v[i] - sum[j < i]((k[i] . k[j]) w[j])), o[i] = sum[j <= i]((q[i] . k[j]) w[j])."""
    output = torch.empty_like(v)
    state = q.new_zeros(q.shape[0], q.shape[2], v.shape[2])
    scaled, values = k * beta[..., None], v * beta[..., None]
    for start in range(0, q.shape[1], chunk):
        Q, K, V, B = (x[:, start : start + chunk] for x in (q, k, values, scaled))
        KT = K.transpose(1, 2)
        right = torch.baddbmm(V, B, state, alpha=-1)
        W = solve(torch.bmm(B, KT), right)
        Y = torch.bmm(torch.bmm(Q, KT).tril_(), W)
        output[:, start : start + chunk] = Y.baddbmm_(Q, state)
        state.baddbmm_(KT, W)
    return output


def solve(matrix: Tensor, right: Tensor) -> Tensor:
    """The unknown of (1 + matrix) unknown = right, the strict lower triangle of the matrix alone; transposed,
    both lie in memory as LAPACK wants them."""
    return torch.linalg.solve_triangular(matrix.mT, right.mT, upper=True, left=False, unitriangular=True).mT


def linear_attention_step(state: Tensor, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """One token of linear attention, (..., d) and (..., e): the output and a new state (..., d, e)."""
    new = torch.addcmul(state, k.unsqueeze(-1), v.unsqueeze(-2))
    return (q.unsqueeze(-2) @ new).squeeze(-2), new


def hla2_step(
    state: tuple[Tensor, Tensor], q: Tensor, k: Tensor, v: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One token of the second order: the output and the new states M (..., d, d) and S (..., d, e)."""
    M = torch.addcmul(state[0], k.unsqueeze(-1), k.unsqueeze(-2))
    z = (q.unsqueeze(-2) @ M).squeeze(-2)
    S = torch.addcmul(state[1], z.unsqueeze(-1), v.unsqueeze(-2))
    return (q.unsqueeze(-2) @ S).squeeze(-2), (M, S)


def scalar_gated_step(state: Tensor, q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """One token with a decay exp(g): the output and a new state (..., d, e)."""
    new = torch.addcmul(state * g.exp()[..., None, None], k.unsqueeze(-1), v.unsqueeze(-2))
    return (q.unsqueeze(-2) @ new).squeeze(-2), new


def delta_rule_step(state: Tensor, q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """One token of the delta rule: the output and a new state (..., d, e)."""
    w = (v - (k.unsqueeze(-2) @ state).squeeze(-2)) * beta[..., None]
    new = torch.addcmul(state, k.unsqueeze(-1), w.unsqueeze(-2))
    return (q.unsqueeze(-2) @ new).squeeze(-2), new
