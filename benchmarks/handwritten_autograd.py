"""The loops of `handwritten_torch` so that autograd can go through them: the yardstick of forward + backward.

Nothing that the backward pass needs is overwritten, and the rows of chunks are joined at the end (writing
them into one tensor would copy its whole gradient once a chunk).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchmarks.handwritten_torch import solve


def linear_attention(q: Tensor, k: Tensor, v: Tensor, chunk: int) -> Tensor:
    """o[i] = sum[j <= i]((q[i] . k[j]) v[j]).

    >>> x = torch.ones(1, 3, 1, requires_grad=True)
    >>> linear_attention(x, x.detach(), x.detach(), chunk=2).sum().backward()
    >>> x.grad.flatten().tolist()
    [1.0, 2.0, 3.0]
    """
    rows = []
    state = q.new_zeros(q.shape[0], q.shape[2], v.shape[2])
    for Q, K, V in zip(*(x.split(chunk, 1) for x in (q, k, v)), strict=True):
        KT = K.transpose(1, 2)
        Y = torch.bmm(torch.bmm(Q, KT).tril_(), V)
        rows.append(Y.baddbmm_(Q, state))
        state = torch.baddbmm(state, KT, V)
    return torch.cat(rows, 1)


def hla2(q: Tensor, k: Tensor, v: Tensor, chunk: int) -> Tensor:
    """o[i] = sum[u <= j <= i]((q[i] . k[u]) (q[j] . k[u]) v[j])."""
    rows = []
    M = q.new_zeros(q.shape[0], q.shape[2], q.shape[2])
    S = q.new_zeros(q.shape[0], q.shape[2], v.shape[2])
    for Q, K, V in zip(*(x.split(chunk, 1) for x in (q, k, v)), strict=True):
        KT = K.transpose(1, 2)
        Z = torch.bmm(torch.bmm(Q, KT).tril_(), K).baddbmm_(Q, M)
        ZT = Z.transpose(1, 2)
        Y = torch.bmm(torch.bmm(Q, ZT).tril_(), V)
        rows.append(Y.baddbmm_(Q, S))
        M, S = torch.baddbmm(M, KT, K), torch.baddbmm(S, ZT, V)
    return torch.cat(rows, 1)


def scalar_gated(q: Tensor, k: Tensor, v: Tensor, g: Tensor, chunk: int) -> Tensor:
    """o[i] = sum[j <= i](exp(sum[j < u <= i](g[u])) (q[i] . k[j]) v[j]), g <= 0."""
    rows = []
    state = q.new_zeros(q.shape[0], q.shape[2], v.shape[2])
    future = torch.full((chunk, chunk), -math.inf, dtype=q.dtype).triu_(1)
    for Q, K, V, g_c in zip(*(x.split(chunk, 1) for x in (q, k, v, g)), strict=True):
        G, c = g_c.cumsum(1), g_c.shape[1]
        D = (G[:, :, None] - G[:, None, :]).add_(future[:c, :c]).exp_()
        Y = torch.bmm(torch.bmm(Q, K.transpose(1, 2)) * D, V)
        rows.append(Y.baddbmm_(Q * G.exp()[:, :, None], state))
        written = (K * D[:, -1, :, None]).transpose(1, 2)
        state = torch.baddbmm(state * G[:, -1].exp()[:, None, None], written, V)
    return torch.cat(rows, 1)


def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, chunk: int) -> Tensor:
    """w[i] = beta[i] (v[i] - sum[j < i]((k[i] . k[j]) w[j])), o[i] = sum[j <= i]((q[i] . k[j]) w[j])."""
    rows = []
    state = q.new_zeros(q.shape[0], q.shape[2], v.shape[2])
    scaled, values = k * beta[..., None], v * beta[..., None]
    for Q, K, V, B in zip(*(x.split(chunk, 1) for x in (q, k, values, scaled)), strict=True):
        KT = K.transpose(1, 2)
        W = solve(torch.bmm(B, KT), torch.baddbmm(V, B, state, alpha=-1))
        Y = torch.bmm(torch.bmm(Q, KT).tril_(), W)
        rows.append(Y.baddbmm_(Q, state))
        state = torch.baddbmm(state, KT, W)
    return torch.cat(rows, 1)
