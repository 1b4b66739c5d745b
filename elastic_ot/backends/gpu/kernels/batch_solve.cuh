// Many problems, a block each: all iterations in one launch, plans, and their sums.
//
// A block a problem, from its first iteration to its last. Each stabilises like cpu/batch.py: K = exp(base + beta - cost)
// is made at some potentials and multiplied by scalings u and v until these have grown too far, or a sum is unsound;
// where that helps nothing, an iteration is done in the log domain, with sums relative to their largest terms. K and
// all vectors lie in shared memory; a K that is too large for it lies in global memory, one a block. An entry of alpha,
// beta, v or next is written by the same thread wherever it is, and barriers stand between that and what others read.

// What a list says of q, which may be null where it says the same of all.
DEVICE i64 listed(const i64* list, i64 q, i64 otherwise) { return list ? list[q] : otherwise; }

struct BatchSide {
    Side side;
    double omega;
    bool plain, exact;

    DEVICE BatchSide(const double* weight, const double* log_weight, const double* offset, const i64* code,
                     const double* strength, const double* strength2, i64 k, i64 size, double omega_)
        : side(weight, 0, (int)listed(code, k, 0), code ? strength[k] : 1.0, code ? strength2[k] : 0.0), omega(omega_) {
        side.weight = weight + k * size;
        side.log_weight = log_weight + k * size;
        side.offset = offset + k * size;
        plain = side.plain(omega);
        exact = omega == 1.0;
    }

    // The scaling of an entry whose marginal is u s, moved by `damping` of the way to its exact update.
    DEVICE double updated(i64 i, double base, double u, double s, double damping) const {
        if (side.plain(damping)) return side.weight[i] / s;
        const double around = base - side.offset[i];
        double moved = potential(side, i, side.log_weight[i] - log(fmax(s, 1e-300)) + around) - around;
        if (damping != 1.0) {
            const double old = log(fmax(u, 1e-300));
            moved = old + damping * (moved - old);
        }
        return exp(moved);
    }

    // The same with the side's own damping; `error` grows by what an exact update would change.
    DEVICE double step(i64 i, double base, double u, double s, double& error) const {
        const double moved = updated(i, base, u, s, omega);
        error += fabs((exact ? moved : updated(i, base, u, s, 1.0)) - u) * s;
        return moved;
    }

    // The same in the log domain: the new potential of an entry whose sum is 2^top `total`.
    DEVICE double log_step(i64 i, double top, double total, double old, double& error) const {
        const double log_sum = log(fmax(total, 1e-300)), from_top = -top * LN2;
        const double target = potential(side, i, side.log_weight[i] - log_sum + from_top - side.offset[i]);
        const double moved = side.offset[i] + target, sum = log_sum - from_top;
        error += fabs(exp(moved + sum) - exp(old + sum));
        return exact ? moved : old + omega * (moved - old);
    }
};

// A sum and a scaling that can be trusted.
DEVICE bool sound(double sum, double least, double u) {
    return sum > least && sum < 1e250 && u > 1e-260 && u < 1e260;
}

DEVICE double log_of(double u, double base) { return u > 0.0 ? base + log(u) : -infinity(); }

template <typename T, typename E>
__global__ void __launch_bounds__(256)
    batch_solve(const T* costs, const i64* cost_of, const double* inv_epsilons, const i64* row_count,
                const i64* col_count, i64 N, i64 M, const double* row_weight, const double* row_log_weight,
                const double* row_offset, const i64* row_code, const double* row_strength, const double* row_strength2,
                const double* col_weight, const double* col_log_weight, const double* col_offset, const i64* col_code,
                const double* col_strength, const double* col_strength2, double row_omega, double col_omega,
                double* alphas, double* betas, const i64* which, i64 size, const double* goal, i64 count, int end_cols,
                int cold, double low, double tiny, double huge, double limit, E* global_kernel, i64* done,
                double* residual) {
    SHARED_POOL;
    double *u = pool, *before = u + N, *base = before + N, *alpha = base + N;
    double *v = alpha + N, *next = v + M, *col_base = next + M, *beta = col_base + M;
    E* K = global_kernel ? global_kernel + blockIdx.x * N * M : reinterpret_cast<E*>(beta + M);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const Trust trust = {low, tiny, huge};
    const double unseen = sizeof(E) == 4 ? 2e-31 : 4e-296;  // of a sum, 1e7 or 1e12 times the least entry of K
    for (i64 q = blockIdx.x; q < size; q += gridDim.x) {
        const i64 k = listed(which, q, q), n = listed(row_count, k, N), m = listed(col_count, k, M);
        const T* cost = costs + listed(cost_of, k, k) * N * M;
        const double inv2 = inv_epsilons[k] * LOG2E;
        const BatchSide rows(row_weight, row_log_weight, row_offset, row_code, row_strength, row_strength2, k, N,
                             row_omega);
        const BatchSide cols(col_weight, col_log_weight, col_offset, col_code, col_strength, col_strength2, k, M,
                             col_omega);
        for (i64 j = threadIdx.x; j < m; j += blockDim.x) beta[j] = betas[k * M + j];
        for (i64 i = threadIdx.x; i < n; i += blockDim.x) {
            alpha[i] = alphas[k * N + i];
            const double guess = cost[i * M] * inv_epsilons[k] - betas[k * M];
            if (cold && rows.side.used(i) && fabs(guess) < infinity()) alpha[i] = guess;
            u[i] = 0.0;
        }
        bool absorb = true;
        i64 iteration = 0;
        double found = residual[q];
        while (iteration < count) {
            double total = 0.0;
            for (i64 j = threadIdx.x; j < m; j += blockDim.x) {
                if (absorb) {
                    col_base[j] = beta[j];
                    v[j] = beta[j] > -infinity() ? 1.0 : 0.0;
                }
                total += v[j];
            }
            const double least_row = fmax(1e-250, unseen * over_block<Sum>(total));
            total = 0.0;
            // rows, a warp each: their sums, and on absorption K itself, around alpha or around its largest entry
            double row_error = 0.0, col_error = 0.0;
            bool row_failed = false, col_failed = false;
            for (i64 i = warp; i < n; i += warps) {
                E* p = K + i * M;
                const T* c = cost + i * M;
                const bool used = rows.side.used(i);
                double sum = 0.0;
                if (absorb) {
                    double start = alpha[i] * LOG2E;
                    for (int attempt = 0; attempt < 2; attempt++) {
                        sum = 0.0;
                        for (i64 j = lane; j < m; j += 32) {
                            p[j] = used ? power(start + col_base[j] * LOG2E - c[j] * inv2, E()) : E(0);
                            sum += p[j];
                        }
                        sum = over_warp<Sum>(sum);
                        if (!used || attempt || trust.row(sum, rows.side.weight[i])) break;
                        double top = -infinity();
                        for (i64 j = lane; j < m; j += 32) top = fmax(top, col_base[j] * LOG2E - c[j] * inv2);
                        top = over_warp<Max>(top);
                        start = top > -infinity() ? -top : 0.0;
                    }
                    if (lane == 0) {
                        base[i] = used ? start * LN2 : 0.0;
                        u[i] = used ? exp2(fmin(fmax(alpha[i] * LOG2E - start, -900.0), 900.0)) : 0.0;
                    }
                } else {
                    for (i64 j = lane; j < m; j += 32) sum += p[j] * v[j];
                    sum = over_warp<Sum>(sum);
                }
                if (lane == 0) {
                    before[i] = u[i];
                    // potentials so far from the base of their row have no scalings
                    if (used && absorb && (iteration > 0 || !rows.exact))
                        row_failed = row_failed || !sound(1.0, 0.0, before[i]);
                    if (used) {
                        u[i] = rows.step(i, base[i], before[i], fmax(sum, 1e-300), row_error);
                        row_failed = row_failed || !sound(sum, least_row, u[i]);
                        total += u[i];
                    }
                }
            }
            const double least_col = fmax(1e-28, unseen * over_block<Sum>(total));
            // columns, a thread each
            for (i64 j = threadIdx.x; j < m; j += blockDim.x) {
                double sum = 0.0;
                for (i64 i = 0; i < n; i++) sum += K[i * M + j] * u[i];
                next[j] = 0.0;
                if (cols.side.used(j)) {
                    next[j] = cols.step(j, col_base[j], v[j], fmax(sum, 1e-300), col_error);
                    col_failed = col_failed || !sound(sum, least_col, next[j]);
                }
            }
            row_error = over_block<Sum>(row_error);
            col_error = over_block<Sum>(col_error);
            row_failed = over_block<Max>(row_failed) > 0.0;
            col_failed = over_block<Max>(col_failed) > 0.0;
            if ((row_failed || col_failed) && !absorb) {  // again, with a new K at the potentials before
                for (i64 i = threadIdx.x; i < n; i += blockDim.x) alpha[i] = log_of(before[i], base[i]);
                for (i64 j = threadIdx.x; j < m; j += blockDim.x) beta[j] = log_of(v[j], col_base[j]);
                absorb = true;
                continue;
            }
            iteration++;
            const bool looks = goal && iteration > 1, moves = goal || end_cols || iteration < count;
            if (row_failed || col_failed) {  // in the log domain, in double precision: three or four passes over the cost
                double log_error = 0.0;
                for (i64 i = warp; row_failed && i < n; i += warps) {
                    double top = -infinity(), sum = 0.0;
                    for (i64 j = lane; j < m; j += 32) top = fmax(top, beta[j] * LOG2E - cost[i * M + j] * inv2);
                    top = over_warp<Max>(top);
                    if (top == -infinity()) top = 0.0;
                    for (i64 j = lane; j < m; j += 32) sum += plan_entry(beta[j] * LOG2E - cost[i * M + j] * inv2 - top);
                    sum = over_warp<Sum>(sum);
                    if (lane == 0)
                        before[i] = rows.side.used(i) ? rows.log_step(i, top, sum, alpha[i], log_error) : -infinity();
                }
                log_error = over_block<Sum>(log_error);
                if (row_failed) row_error = log_error;
                if (looks && end_cols && row_error <= goal[k]) {
                    found = row_error;
                    break;
                }
                for (i64 i = threadIdx.x; i < n; i += blockDim.x) {
                    alpha[i] = row_failed ? before[i] : log_of(u[i], base[i]);
                    u[i] = 0.0;
                }
                __syncthreads();
                col_error = 0.0;
                for (i64 j = threadIdx.x; moves && j < m; j += blockDim.x) {
                    next[j] = -infinity();
                    if (!cols.side.used(j)) continue;
                    double top = -infinity(), sum = 0.0;
                    for (i64 i = 0; i < n; i++) top = fmax(top, alpha[i] * LOG2E - cost[i * M + j] * inv2);
                    if (top == -infinity()) top = 0.0;
                    for (i64 i = 0; i < n; i++) sum += plan_entry(alpha[i] * LOG2E - cost[i * M + j] * inv2 - top);
                    next[j] = cols.log_step(j, top, sum, beta[j], col_error);
                }
                col_error = over_block<Sum>(col_error);
                if (looks) found = end_cols ? row_error : col_error;
                if (looks && !end_cols && col_error <= goal[k]) break;
                for (i64 j = threadIdx.x; moves && j < m; j += blockDim.x) beta[j] = next[j];
                absorb = true;
                continue;
            }
            if (looks) {
                found = end_cols ? row_error : col_error;
                if (found <= goal[k]) {
                    const double* last = end_cols ? before : u;
                    for (i64 i = threadIdx.x; i < n; i += blockDim.x) alpha[i] = log_of(last[i], base[i]);
                    for (i64 j = threadIdx.x; j < m; j += blockDim.x) beta[j] = log_of(v[j], col_base[j]);
                    break;
                }
            }
            bool spread = false;
            for (i64 i = threadIdx.x; i < n; i += blockDim.x)
                spread = spread || (u[i] != 0.0 && !(u[i] <= limit && u[i] >= 1.0 / limit));
            for (i64 j = threadIdx.x; j < m; j += blockDim.x) {
                if (moves) v[j] = next[j];
                spread = spread || (v[j] != 0.0 && !(v[j] <= limit && v[j] >= 1.0 / limit));
            }
            absorb = over_block<Max>(spread) > 0.0;
            if (absorb || iteration == count) {
                for (i64 i = threadIdx.x; i < n; i += blockDim.x) alpha[i] = log_of(u[i], base[i]);
                for (i64 j = threadIdx.x; j < m; j += blockDim.x) beta[j] = log_of(v[j], col_base[j]);
            }
        }
        for (i64 i = threadIdx.x; i < n; i += blockDim.x) alphas[k * N + i] = alpha[i];
        for (i64 j = threadIdx.x; j < m; j += blockDim.x) betas[k * M + j] = beta[j];
        if (threadIdx.x == 0) {
            done[q] = iteration;
            residual[q] = found;
        }
    }
}

// A block each row of the problems `which`.
template <typename T, typename O>
__global__ void batch_fill_plan(const T* costs, const i64* cost_of, const double* inv_epsilons, const i64* row_count,
                                const i64* col_count, const i64* which, i64 size, i64 N, i64 M, const double* alphas,
                                const double* betas, O* plans) {
    const double least = sizeof(O) == 4 ? -125.0 : -1021.0;
    for (i64 row = blockIdx.x; row < size * N; row += gridDim.x) {
        const i64 k = listed(which, row / N, row / N), i = row % N;
        const i64 n = listed(row_count, k, N), m = listed(col_count, k, M);
        const T* cost = costs + (listed(cost_of, k, k) * N + i) * M;
        const double inv2 = inv_epsilons[k] * LOG2E, start = alphas[k * N + i] * LOG2E;
        O* plan = plans + (k * N + i) * M;
        for (i64 j = threadIdx.x; j < M; j += blockDim.x) {
            const double y = i < n && j < m ? start + betas[k * M + j] * LOG2E - cost[j] * inv2 : -infinity();
            plan[j] = y > least ? power(y, O()) : O(0);
        }
    }
}

// A block each problem: its rows by warps, then its columns by threads.
template <typename T>
__global__ void batch_sums(const T* costs, const i64* cost_of, const double* inv_epsilons, const i64* row_count,
                           const i64* col_count, i64 N, i64 M, const double* alphas, const double* betas,
                           const i64* which, i64 size, double* row_sum, double* col_sum) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (i64 q = blockIdx.x; q < size; q += gridDim.x) {
        const i64 k = listed(which, q, q), n = listed(row_count, k, N), m = listed(col_count, k, M);
        const T* cost = costs + listed(cost_of, k, k) * N * M;
        const double inv2 = inv_epsilons[k] * LOG2E, *alpha = alphas + k * N, *beta = betas + k * M;
        for (i64 i = warp; i < N; i += warps) {
            double sum = 0.0;
            for (i64 j = lane; i < n && j < m; j += 32)
                sum += plan_entry(alpha[i] * LOG2E + beta[j] * LOG2E - cost[i * M + j] * inv2);
            sum = over_warp<Sum>(sum);
            if (lane == 0) row_sum[k * N + i] = sum;
        }
        for (i64 j = threadIdx.x; j < M; j += blockDim.x) {
            double sum = 0.0;
            for (i64 i = 0; j < m && i < n; i++)
                sum += plan_entry(alpha[i] * LOG2E + beta[j] * LOG2E - cost[i * M + j] * inv2);
            col_sum[k * M + j] = sum;
        }
    }
}
