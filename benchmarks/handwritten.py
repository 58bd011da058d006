"""NumPy written by hand: what a careful person writes for one operator, and the yardstick of the figures.

Arrays are (heads, tokens, features). Each chunk loop keeps its working set in cache: masks and
temporaries are allocated once, products go to them with `out=`, everything else happens in place.
Every function here is tested against the definition.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def linear_attention(q: Array, k: Array, v: Array, chunk: int) -> Array:
    """o[i] = sum[j <= i]((q[i] . k[j]) v[j]), a loop over chunks with the state S = sum(k v^T).

    >>> ones = np.ones((1, 3, 1))
    >>> linear_attention(ones, ones, ones, chunk=2).ravel()
    array([1., 2., 3.])
    """
    heads, n, d = q.shape
    e = v.shape[-1]
    output = np.empty((heads, n, e), q.dtype)
    state, added = np.zeros((heads, d, e), q.dtype), np.empty((heads, d, e), q.dtype)
    mask = np.tri(chunk, dtype=q.dtype)
    scores, read = np.empty((heads, chunk, chunk), q.dtype), np.empty((heads, chunk, e), q.dtype)
    for start in range(0, n, chunk):
        rows = slice(start, start + chunk)
        Q, K, V, Y = q[:, rows], k[:, rows], v[:, rows], output[:, rows]
        c = Q.shape[1]
        A, R, KT = scores[:, :c, :c], read[:, :c], K.swapaxes(1, 2)
        np.matmul(Q, KT, out=A)
        A *= mask[:c, :c]
        np.matmul(A, V, out=Y)
        np.matmul(Q, state, out=R)
        Y += R
        np.matmul(KT, V, out=added)
        state += added
    return output


def hla2(q: Array, k: Array, v: Array, chunk: int) -> Array:
    """o[i] = sum[u <= j <= i]((q[i] . k[u]) (q[j] . k[u]) v[j]): two linear attentions in one loop.

    z[j] = sum[u <= j](k[u] (k[u] . q[j])) has the state M = sum(k k^T); o reads (q, z, v) with the
    state S = sum(z v^T). 16 d^2 FLOPs a token at chunk = d = e.
    """
    heads, n, d = q.shape
    e = v.shape[-1]
    output = np.empty((heads, n, e), q.dtype)
    M, M_added = np.zeros((heads, d, d), q.dtype), np.empty((heads, d, d), q.dtype)
    S, S_added = np.zeros((heads, d, e), q.dtype), np.empty((heads, d, e), q.dtype)
    mask = np.tri(chunk, dtype=q.dtype)
    scores = np.empty((heads, chunk, chunk), q.dtype)
    z, z_read = np.empty((heads, chunk, d), q.dtype), np.empty((heads, chunk, d), q.dtype)
    o_read = np.empty((heads, chunk, e), q.dtype)
    for start in range(0, n, chunk):
        rows = slice(start, start + chunk)
        Q, K, V, Y = q[:, rows], k[:, rows], v[:, rows], output[:, rows]
        c = Q.shape[1]
        A, Z, KT = scores[:, :c, :c], z[:, :c], K.swapaxes(1, 2)
        np.matmul(Q, KT, out=A)
        A *= mask[:c, :c]
        np.matmul(A, K, out=Z)
        np.matmul(Q, M, out=z_read[:, :c])
        Z += z_read[:, :c]
        np.matmul(KT, K, out=M_added)
        M += M_added
        ZT = Z.swapaxes(1, 2)
        np.matmul(Q, ZT, out=A)
        A *= mask[:c, :c]
        np.matmul(A, V, out=Y)
        np.matmul(Q, S, out=o_read[:, :c])
        Y += o_read[:, :c]
        np.matmul(ZT, V, out=S_added)
        S += S_added
    return output


def scalar_gated(q: Array, k: Array, v: Array, g: Array, chunk: int) -> Array:
    """o[i] = sum[j <= i](exp(sum[j < u <= i](g[u])) (q[i] . k[j]) v[j]), g <= 0 of shape (heads, tokens).

    Only differences of the running sum are exponentiated, and the mask comes before the exponential.
    """
    heads, n, d = q.shape
    e = v.shape[-1]
    output = np.empty((heads, n, e), q.dtype)
    state, added = np.zeros((heads, d, e), q.dtype), np.empty((heads, d, e), q.dtype)
    future = np.triu(np.full((chunk, chunk), -np.inf, q.dtype), 1)
    scores, decays = (np.empty((heads, chunk, chunk), q.dtype) for _ in range(2))
    read, weighted = np.empty((heads, chunk, e), q.dtype), np.empty((heads, chunk, d), q.dtype)
    for start in range(0, n, chunk):
        rows = slice(start, start + chunk)
        Q, K, V, Y = q[:, rows], k[:, rows], v[:, rows], output[:, rows]
        c = Q.shape[1]
        A, D, R, W = scores[:, :c, :c], decays[:, :c, :c], read[:, :c], weighted[:, :c]
        G = np.cumsum(g[:, rows], axis=1)
        np.subtract(G[:, :, None], G[:, None, :], out=D)
        D += future[:c, :c]
        np.exp(D, out=D)
        np.matmul(Q, K.swapaxes(1, 2), out=A)
        A *= D
        np.matmul(A, V, out=Y)
        np.matmul(Q, state, out=R)
        R *= np.exp(G)[:, :, None]
        Y += R
        np.multiply(K, D[:, -1, :, None], out=W)  # the last row holds the decays to the chunk's end
        np.matmul(W.swapaxes(1, 2), V, out=added)
        state *= np.exp(G[:, -1])[:, None, None]
        state += added
    return output


def delta_rule(q: Array, k: Array, v: Array, beta: Array, chunk: int) -> Array:
    """S[i] = S[i-1] + beta[i] k[i] (v[i] - k[i] S[i-1])^T, o[i] = q[i] S[i]; the chunk is a multiple of 16,
    or less.

    In a chunk, w = T (beta v - beta k S) with T the inverse of 1 + [j < i] beta k k^T, by substitution in
    blocks of 16 rows whose inverses are made for the whole sequence at once.
    """
    heads, n, d = q.shape
    e = v.shape[-1]
    output = np.empty((heads, n, e), q.dtype)
    state, added = np.zeros((heads, d, e), q.dtype), np.empty((heads, d, e), q.dtype)
    lower, strict = np.tri(chunk, dtype=q.dtype), np.tri(chunk, k=-1, dtype=q.dtype)
    scores, read = np.empty((heads, chunk, chunk), q.dtype), np.empty((heads, chunk, e), q.dtype)
    scaled = k * beta[..., None]
    step = min(16, chunk)
    blocks = unit_inverses(scaled, k, step)
    for start in range(0, n, chunk):
        rows = slice(start, start + chunk)
        Q, K, V, Y, B = q[:, rows], k[:, rows], v[:, rows], output[:, rows], scaled[:, rows]
        c = Q.shape[1]
        A, R, KT = scores[:, :c, :c], read[:, :c], K.swapaxes(1, 2)
        np.matmul(B, KT, out=A)
        A *= strict[:c, :c]
        W = V * beta[:, rows, None]
        np.matmul(B, state, out=R)
        W -= R
        for low in range(0, c, step):
            block = W[:, low : low + step]
            if low:
                block -= A[:, low : low + step, :low] @ W[:, :low]
            size = block.shape[1]
            block[...] = blocks[:, (start + low) // step, :size, :size] @ block
        np.matmul(Q, KT, out=A)
        A *= lower[:c, :c]
        np.matmul(A, W, out=Y)
        np.matmul(Q, state, out=R)
        Y += R
        np.matmul(KT, W, out=added)
        state += added
    return output


def unit_inverses(left: Array, right: Array, size: int) -> Array:
    """The inverses of 1 + [j < i] left right^T in blocks of `size` rows, all blocks at once: (heads, blocks,
    size, size). The last block is filled up with zeros."""
    heads, n, d = left.shape
    count = -(-n // size)
    if n < count * size:
        left, right = (np.pad(x, ((0, 0), (0, count * size - n), (0, 0))) for x in (left, right))
    products = left.reshape(-1, size, d) @ right.reshape(-1, size, d).swapaxes(1, 2)
    M = np.ascontiguousarray(products.transpose(1, 2, 0))
    T = np.zeros_like(M)
    for row in range(size):
        T[row, row] = 1
        if row:
            T[row, :row] = -np.einsum("jb,jlb->lb", M[row, :row], T[:row, :row])
    return np.ascontiguousarray(T.transpose(2, 0, 1)).reshape(heads, count, size, size)


def causal_softmax(q: Array, k: Array, v: Array, rows: int = 128, columns: int = 256) -> Array:
    """o[i] = sum[j <= i](softmax(q[i] . k[j] / sqrt(d)) v[j]), blocks of rows and columns with the running
    maximum and sum of each row (Milakov and Gimelshein 2018; Dao et al. 2022).

    Arrays may lack the heads. Only blocks on the diagonal are masked; those above it are skipped.
    """
    n, d = q.shape[-2:]
    lead, e = q.shape[:-2], v.shape[-1]
    output = np.empty((*lead, n, e), q.dtype)
    tile, read = np.empty((*lead, rows * columns), q.dtype), np.empty((*lead, rows, e), q.dtype)
    scale = q.dtype.type(d**-0.5)
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        r = stop - start
        Q = q[..., start:stop, :] * scale
        top = np.full((*lead, r, 1), -np.inf, q.dtype)
        total, Y, R = np.zeros((*lead, r, 1), q.dtype), np.zeros((*lead, r, e), q.dtype), read[..., :r, :]
        for left in range(0, stop, columns):
            right = min(left + columns, stop)
            P = tile[..., : r * (right - left)].reshape(*lead, r, right - left)
            np.matmul(Q, k[..., left:right, :].swapaxes(-1, -2), out=P)
            if right - 1 > start:
                np.copyto(P, -np.inf, where=np.arange(left, right) > np.arange(start, stop)[:, None])
            risen = np.maximum(top, P.max(axis=-1, keepdims=True))
            P -= risen
            np.exp(P, out=P)
            change = np.exp(top - risen)
            top = risen
            total *= change
            total += P.sum(axis=-1, keepdims=True)
            np.matmul(P, v[..., left:right, :], out=R)
            Y *= change
            Y += R
        np.divide(Y, total, out=output[..., start:stop, :])
    return output


def quadratic(q: Array, k: Array, v: Array) -> Array:
    """Linear attention from its definition: the masked n x n scores of one head at a time."""
    heads, n, _ = q.shape
    output = np.empty((heads, n, v.shape[-1]), q.dtype)
    mask = np.tri(n, dtype=bool)
    scores = np.empty((n, n), q.dtype)
    for h in range(heads):
        np.matmul(q[h], k[h].T, out=scores)
        np.multiply(scores, mask, out=scores)
        np.matmul(scores, v[h], out=output[h])
    return output


def linear_attention_step(state: Array, q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    """One token of linear attention, (..., d) and (..., e): the output and a new state (..., d, e)."""
    new = k[..., :, None] * v[..., None, :]
    new += state
    return read(q, new), new


def hla2_step(state: tuple[Array, Array], q: Array, k: Array, v: Array) -> tuple[Array, tuple[Array, Array]]:
    """One token of the second order: the output and the new states M (..., d, d) and S (..., d, e)."""
    M = k[..., :, None] * k[..., None, :]
    M += state[0]
    z = read(q, M)
    S = z[..., :, None] * v[..., None, :]
    S += state[1]
    return read(q, S), (M, S)


def read(q: Array, state: Array) -> Array:
    """q[c] * state[c, x], for each head; a vector times a matrix where there is one head."""
    return q @ state if q.ndim == 1 else np.matmul(q[..., None, :], state)[..., 0, :]
