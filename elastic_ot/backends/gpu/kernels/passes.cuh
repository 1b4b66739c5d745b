// Passes over the plan: maxima, the plan, its sums, products, tangent and rounding, the cheapest cells of rows.
// Rows: a block each. Columns: a thread each, over the rows of part blockIdx.y, which `sum_parts` or `max_parts` join.

template <typename T>
__global__ void largest_of_rows(const T* cost, i64 n, i64 m, double inv_epsilon, const double* beta, double* out) {
    for (i64 i = blockIdx.x; i < n; i += gridDim.x) {
        double top = -infinity();
        for (i64 j = threadIdx.x; j < m; j += blockDim.x) top = fmax(top, beta[j] - cost[i * m + j] * inv_epsilon);
        top = over_block<Max>(top);
        if (threadIdx.x == 0) out[i] = top;
    }
}

template <typename T>
__global__ void largest_of_columns(const T* cost, i64 n, i64 m, double inv_epsilon, const double* alpha,
                                   double* parts) {
    const i64 j = blockIdx.x * (i64)blockDim.x + threadIdx.x;
    if (j >= m) return;
    double top = -infinity();
    const i64 last = (blockIdx.y + 1) * n / gridDim.y;
#pragma unroll 4
    for (i64 i = blockIdx.y * n / gridDim.y; i < last; i++) top = fmax(top, alpha[i] - cost[i * m + j] * inv_epsilon);
    parts[blockIdx.y * m + j] = top;
}

template <typename T, typename O>
__global__ void fill_plan(const T* cost, i64 n, i64 m, double inv2, const double* alpha, const double* beta2, O* out) {
    for (i64 i = blockIdx.x; i < n; i += gridDim.x) {
        const double start = alpha[i] * LOG2E;
        for (i64 j = threadIdx.x; j < m; j += blockDim.x)
            out[i * m + j] = (O)plan_entry(start + beta2[j] - cost[i * m + j] * inv2);
    }
}

// In float32 to 2e-7 relative, 0 below 2^-125.
template <typename T>
__global__ void fill_plan_coarse(const T* cost, i64 n, i64 m, double inv2, const double* alpha, const double* beta2,
                                 float* out) {
    for (i64 i = blockIdx.x; i < n; i += gridDim.x) {
        const double start = alpha[i] * LOG2E;
        for (i64 j = threadIdx.x; j < m; j += blockDim.x) {
            const double y = start + beta2[j] - cost[i * m + j] * inv2;
            out[i * m + j] = y > -125.0 ? power(y, 0.0f) : 0.0f;
        }
    }
}

// A part of the row sums of the plan for each slice, and one of its column sums for each band: one read.
template <typename T, int COLS>
__global__ void __launch_bounds__(512)
    plan_sums(const T* __restrict__ cost, i64 n, i64 m, i64 most, double inv2, const double* alpha, const double* beta2,
              double* __restrict__ row_parts, double* __restrict__ parts) {
    SHARED_POOL;
    typedef value_of<T> V;
    constexpr int ROWS = Rows<V, double, COLS>::count, width = Pack<T>::width;
    __shared__ double slots[2][ROWS][32];
    const Share share(n, m, most);
    const RowSums<ROWS> row_sums = {slots};
    const Stream<T, COLS, ROWS> stream(share, cost, m, largest(T()), pool);
    beta2 += share.begin;
    double total[COLS] = {};
    const auto take = [&](i64 group, int, double(&partial)[ROWS]) {
        double start[ROWS];
#pragma unroll
        for (int q = 0; q < ROWS; q++) {
            const bool spare = share.first + group * ROWS + q >= share.last;
            start[q] = spare ? -infinity() : alpha[stream.row(group, q)] * LOG2E;
        }
#pragma unroll
        for (int g = 0; g < COLS; g += width) {
            V c[ROWS][width];
#pragma unroll
            for (int q = 0; q < ROWS; q++) stream.take(group, q, g / width, c[q]);
#pragma unroll
            for (int e = 0; e < width; e++) {
                const double beta = beta2[column_of<T>(g + e)];
#pragma unroll
                for (int q = 0; q < ROWS; q++) {
                    const double p = plan_entry(start[q] + beta - c[q][e] * inv2);
                    partial[q] += p;
                    total[g + e] += p;
                }
            }
        }
    };
    const auto finish = [&](int half, int q, i64 i) {
        const double sum = row_sums.sum(half, q);
        if (i < share.last && threadIdx.x % 32 == 0) row_parts[share.slice * n + i] = sum;
    };
    in_groups(stream, row_sums, take, finish, [](i64, int) {});
    store_columns<T, COLS>(total, share.width, parts + share.band * m + share.begin);
}

// P X for k columns of X at a time, a power for each entry and group of four columns; x = 0 stands for a column of ones.
template <typename T>
__global__ void plan_times(const T* cost, i64 n, i64 m, double inv2, const double* alpha, const double* beta2,
                           const double* x, i64 k, double* out) {
    for (i64 i = blockIdx.x; i < n; i += gridDim.x) {
        const double start = alpha[i] * LOG2E;
        for (i64 q = 0; q < k; q += 4) {
            double sum[4] = {};
            for (i64 j = threadIdx.x; j < m; j += blockDim.x) {
                const double p = plan_entry(start + beta2[j] - cost[i * m + j] * inv2);
#pragma unroll
                for (int r = 0; r < 4; r++)
                    if (q + r < k) sum[r] += x ? p * x[j * k + q + r] : p;
            }
#pragma unroll
            for (int r = 0; r < 4; r++)
                if (q + r < k) {
                    const double total = over_block<Sum>(sum[r]);
                    if (threadIdx.x == 0) out[i * k + q + r] = total;
                }
        }
    }
}

template <typename T>
__global__ void plan_transposed_times(const T* cost, i64 n, i64 m, double inv2, const double* alpha,
                                      const double* beta2, const double* x, i64 k, double* parts) {
    const i64 j = blockIdx.x * (i64)blockDim.x + threadIdx.x;
    if (j >= m) return;
    const i64 first = blockIdx.y * n / gridDim.y, last = (blockIdx.y + 1) * n / gridDim.y;
    for (i64 q = 0; q < k; q += 4) {
        double sum[4] = {};
        for (i64 i = first; i < last; i++) {
            const double p = plan_entry(alpha[i] * LOG2E + beta2[j] - cost[i * m + j] * inv2);
#pragma unroll
            for (int r = 0; r < 4; r++)
                if (q + r < k) sum[r] += x ? p * x[i * k + q + r] : p;
        }
#pragma unroll
        for (int r = 0; r < 4; r++)
            if (q + r < k) parts[(blockIdx.y * m + j) * k + q + r] = sum[r];
    }
}

template <typename T>
__global__ void matrix_times(const T* matrix, i64 n, i64 m, const double* x, double* out) {
    for (i64 i = blockIdx.x; i < n; i += gridDim.x) {
        double sum = 0.0;
        for (i64 j = threadIdx.x; j < m; j += blockDim.x) sum += matrix[i * m + j] * x[j];
        sum = over_block<Sum>(sum);
        if (threadIdx.x == 0) out[i] = sum;
    }
}

// x = 0 stands for ones.
template <typename T>
__global__ void matrix_transposed_times(const T* matrix, i64 n, i64 m, const double* x, double* parts) {
    const i64 j = blockIdx.x * (i64)blockDim.x + threadIdx.x;
    if (j >= m) return;
    const i64 first = blockIdx.y * n / gridDim.y, last = (blockIdx.y + 1) * n / gridDim.y;
    double sum = 0.0;
#pragma unroll 4
    for (i64 i = first; i < last; i++) sum += x ? matrix[i * m + j] * x[i] : matrix[i * m + j];
    parts[blockIdx.y * m + j] = sum;
}

// `plan_tangent` but for the column sums.
template <typename T, typename B>
__global__ void tangent_rows(const T* cost, i64 n, i64 m, double inv2, const double* alpha, const double* beta2,
                             const B* bar, const double* x, const double* y, double slope, double* out, double* row_sum,
                             double* row_dot) {
    for (i64 i = blockIdx.x; i < n; i += gridDim.x) {
        double total = 0.0, dot = 0.0;
        for (i64 j = threadIdx.x; j < m; j += blockDim.x) {
            double e = alpha[i] * LOG2E + beta2[j] - cost[i * m + j] * inv2;
            const double p = plan_entry(e);
            e = fmax(e, -1100.0) * LN2;  // finite where P is 0
            const double d = p > 0.0 ? inv2 * LN2 * p * (x[i] + y[j] + slope * e - bar[i * m + j]) : 0.0;
            out[i * m + j] = d;
            total += d;
            dot += d * e;
        }
        total = over_block<Sum>(total);
        dot = over_block<Sum>(dot);
        if (threadIdx.x == 0) {
            row_sum[i] = total;
            row_dot[i] = dot;
        }
    }
}

template <typename T>
__global__ void rounded_rows(const T* cost, i64 n, i64 m, double inv_epsilon, const double* alpha, const double* beta,
                             const double* row_factor, const double* col_factor, const double* row_rest,
                             const double* col_rest, double* divergence, double* transport) {
    for (i64 i = blockIdx.x; i < n; i += gridDim.x) {
        double kl = 0.0, moved = 0.0;
        for (i64 j = threadIdx.x; j < m; j += blockDim.x) {
            const double exponent = alpha[i] + beta[j] - cost[i * m + j] * inv_epsilon;
            const double p = plan_entry(exponent * LOG2E);
            const double q = row_factor[i] * p * col_factor[j] + row_rest[i] * col_rest[j];
            if (exponent > -infinity() && q > 1e-300) {
                kl += q * (log(q) - exponent) - q + p;
                moved += q * cost[i * m + j];
            } else {
                kl += p;
            }
        }
        kl = over_block<Sum>(kl);
        moved = over_block<Sum>(moved);
        if (threadIdx.x == 0) {
            divergence[i] = kl;
            transport[i] = moved;
        }
    }
}

// The k smallest of cost_ij - beta_j, one after the other: each is the first after its predecessor in the order by
// value, then by the distance of the column from one that depends on the row. A warp each row; blocks are one warp.
template <typename T>
__global__ void smallest_cells(const T* cost, i64 n, i64 m, const double* beta, const i64* which, i64 size, i64 k,
                               int* indices, double* least) {
    for (i64 q = blockIdx.x; q < size; q += gridDim.x) {
        const i64 i = which[q], begin = i * m / n;
        double last = -infinity();
        i64 last_place = -1;
        for (i64 r = 0; r < k; r++) {
            double best = infinity();
            i64 place = m;
            for (i64 t = threadIdx.x; t < m; t += 32) {
                const i64 j = t + begin < m ? t + begin : t + begin - m;
                const double d = cost[i * m + j] - beta[j];
                const bool after = d > last || (d == last && t > last_place);
                if (after && (d < best || (d == best && t < place))) {
                    best = d;
                    place = t;
                }
            }
            for (int distance = 16; distance > 0; distance /= 2) {
                const double other = __shfl_xor_sync(ALL_LANES, best, distance);
                const i64 other_place = __shfl_xor_sync(ALL_LANES, place, distance);
                if (other < best || (other == best && other_place < place)) {
                    best = other;
                    place = other_place;
                }
            }
            if (threadIdx.x == 0) {
                const i64 j = place + begin < m ? place + begin : place + begin - m;
                indices[q * k + r] = best < infinity() ? (int)j : -1;
                if (r == 0) least[q] = best;
            }
            last = best;
            last_place = place;
        }
    }
}
