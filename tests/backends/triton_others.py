"""Programs beside the catalogue: what once went wrong in kernels, or needs what nothing there does."""

TOTAL = """
    s[c, x] = k[j, c] * v[j, x]
    o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])
"""
OTHERS = {
    "heads_in_a_stream": """
def f(q[h, n, d], k[h, n, d], v[h, n, e], b[n], y[n]) -> o[n, e]:
    p[i, j] = softmax[j <= i](y[i] * b[j])
    o[i, x] = sum[s, j](p[i, j] * tanh(q[s, i, c] * k[s, j, c]) * v[s, j, x])
""",
    "end_softmax": f"""
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e], t[]:{TOTAL}    p[c, x] = softmax[c, x](s[c, x])
    t[] = p[c, x] * s[c, x]
""",
    "end_softmax_of_one_axis": f"""
def f(q[n, d], k[n, d], v[n, e], w[d, e]) -> o[n, e], t[]:{TOTAL}    u[c, x] = softmax[c](s[c, x])
    t[] = u[c, x] * w[c, x]
""",
    "end_max": f"""
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e], t[], m[]:{TOTAL}    m[] = max[c, x](s[c, x])
    t[] = s[c, x] * s[c, x]
""",
    "end_at_computed_places": """
def f(k[n, d], v[n, d]) -> t[], u[d], o[n, d]:
    s[c, x] = sum[j](k[j, c] * v[j, x])
    t[] = sum[c](s[c, c])
    u[x] = s[0, x] + s[x // 2, x]
    o[i, x] = sum[j <= i](k[i, c] * k[j, c] * v[j, x])
""",
    "a_total_at_computed_places": """
def f(k[n, d], v[n, d], q[n, d]) -> u[n, d]:
    s[c, x] = sum[j](k[j, c] * v[j, x])
    u[i, x] = s[1, x] * sum[j <= i](q[j, x])
""",
    "states_at_computed_places": """
def f(k[n, d], v[n, d], h[n, m]) -> t[n], u[n, m, d]:
    s[i, c, x] = sum[j <= i](k[j, c] * v[j, x])
    t[i] = sum[c](s[i, c, c])
    u[i, b, x] = s[i, b // 2, x] * h[i, b]
""",
    "earlier_states_at_computed_places": """
def f(k[n, d], v[n, d], q[n, d]) -> u[n, d]:
    s[i, c, x] = 0.5 * s[i - 1, c, x] + k[i, c] * v[i, x]
    u[i, x] = s[i, x // 2, x] * q[i, x] + s[i - 1, 0, x]
""",
    "programs_that_share_a_state": """
def f(w[h, n], q[n, d], k[n, d], v[n, e]) -> o[h, n, e]:
    o[s, i, x] = w[s, i] * sum[j <= i](q[i, c] * k[j, c] * v[j, x])
""",
    "names_of_arguments": """
def k(fits[n, size], k[n, size], k_b[n, in_place], S1[n, size], S1_all[n, in_place],
      k_s0[n, size], k_kernel[n]) -> o[n, in_place]:
    r[i, x_block] = sum[j <= i](S1[i, c_block] * k_s0[j, c_block] * S1_all[j, x_block] * k_kernel[j])
    o[i, x_block] = r[i, x_block] + sum[j <= i](fits[i, c_block] * k[j, c_block] * k_b[j, x_block])
""",
    "names_of_variables": """
def f(q[n, d], k[n, d], k_align[n, x_block], f_states[n], f_reads1[n], S1_in[n], S1_next[n],
      q_rows[n]) -> c_at[n, x_block]:
    z[i, x] = sum[j <= i](q[i, c] * k[j, c] * k_align[j, x] * f_states[j])
    c_at[i, x] = z[i, x] * f_reads1[i] * S1_in[i] * S1_next[i] * q_rows[i - 1]
""",
    "a_size_called_like_a_loop": """
def f(q[n, d], k[n, d], v[n, c_start]) -> o[n, c_start]:
    o[i, x] = sum[j <= i](q[i, c] * k[j, c] * v[j, x])
""",
    "a_system_whose_write_lacks_a_label": """
def f(p[n], k[n, d], r[n, e], v[n, d]) -> w[n, d]:
    W[j, c, x] = p[j] * w[j, c] + k[j, c] * r[j, x]
    w[i, c] = v[i, c] - 0.02 * sum[j < i, x](W[j, c, x] * p[i] * 0.9 ** (i - j))
""",
    "a_window": """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    o[i, x] = sum[i - 3 < j <= i](q[i, c] * k[j, c] * v[j, x])
""",
    "the_state_before_a_token": """
def f(q[n, d], k[n, d], v[n, e]) -> o[n, e]:
    S[i, c, x] = S[i - 1, c, x] - 0.1 * k[i, c] * sum[y](k[i, y] * S[i - 1, y, x]) + k[i, c] * v[i, x]
    o[i, x] = sum[c](q[i, c] * S[i - 1, c, x])
""",
    "rows_without_columns": """
def f(q[n, d], k[h, n, d], A[n]) -> out[h, n]:
    m1[m, i] = max[j, j <= i, i - 3 < j](sum[a](q[i, a] * k[m, j, a]))
    out[m, i] = sum[j < i](m1[m, j] * A[j])
""",
    "one_over_what_is_not_there": """
def f(q[n, d], r[d], v[n, e], z[n, e], A[n]) -> o[n, e], w[d]:
    o[l, x] = sum[u, j, i, u < j < i](q[l, c] * A[j] * A[u] * (r[c] ** 2 + 0.9) ** (i - l) * v[i, x]) / 4096
    w[c] = sum[i, l, i < l](q[l, c] * z[l, x] * v[i, x] / r[c] ** 2)
""",
    "what_nothing_reads": """
def f(q[n, d], k[n, d], A[n]) -> out[]:
    m1[i] = min[j, j <= i](sum[a](q[i, a] * k[j, a]))
    out[] = sum[u, j, u < j, j < u](m1[u] * A[j])
""",
    "systems_of_heads": """
def f(q[h, n, d], k[h, n, d], v[h, n, e], b[h, n]) -> o[h, n, e]:
    w[s, i, x] = b[s, i] * (v[s, i, x] - 0.2 * sum[j < i](k[s, i, c] * k[s, j, c] * w[s, j, x]))
    o[s, i, x] = sum[j <= i](q[s, i, c] * k[s, j, c] * w[s, j, x])
""",
    "stacks_of_narrow_products": """
def f(x[z, a, b], A[a, b, D, k], B[a, D, k, c]) -> y[z, c, D]:
    y[Z, C, E] = x[Z, I, J] * A[I, J, E, K] * B[I, E, K, C]
""",
}

# Their gradients compare scores that are computed again, and make a tile of more elements than Triton takes.
NO_GRADIENT = ("rows_without_columns", "one_over_what_is_not_there")
