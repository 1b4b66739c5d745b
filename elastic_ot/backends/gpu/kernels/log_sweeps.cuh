// Iterations in the log domain, their rows: one read of the cost gives row sums, the row update and column sums. Rows
// too wide for all blocks together are those of wide_*.

// What becomes of a row whose sum has the logarithm log_sum; returns the factor from p, built with the potential
// `base`, to the row under the new potential.
DEVICE double update_row(const Side& rows, i64 i, double omega, double log_sum, double base, double old, double* alpha,
                         double* log_row) {
    const double moved = old + change(rows, i, omega, old, log_sum);
    log_row[i] = log_sum;
    alpha[i] = moved;
    return exp(moved - base);
}

// Sums are trusted in (tiny, huge), those of rows also only from `low` of their weight on: `scratch` in cpu/dense.py
// says why.
struct Trust {
    double low, tiny, huge;
    DEVICE bool row(double sum, double weight) const { return sum > fmax(low * weight, tiny) && sum < huge; }
    DEVICE bool column(double sum) const { return sum > tiny && sum < huge; }
};

// One row again, relative to its largest entry; returns the factor. All threads of all blocks of the row come together.
template <typename T, typename E, int COLS>
DEVICE double row_by_largest(const T* row, const Share& share, const Slices& slices, bool aligned, double inv2,
                             const double* beta2, const Side& rows, i64 i, double omega, E (&p)[COLS],
                             const double* previous_alpha, double* alpha, double* log_row) {
    value_of<T> c[COLS];
    load_row<T, COLS>(row, share.width, aligned, infinity(), c);
    double top = -infinity(), sum = 0.0;
#pragma unroll
    for (int k = 0; k < COLS; k++) {
        const i64 j = column_of<T>(k);
        top = fmax(top, beta2[j] - c[k] * inv2);
    }
    __shared__ double found;
    top = over_block<Max>(top);
    if (threadIdx.x < 32) {
        top = slices.over<Max>(1, i, top);
        if (threadIdx.x == 0) found = top > -infinity() ? top : 0.0;  // if nothing can be reached the sum is 0
    }
    __syncthreads();
    top = found;
#pragma unroll
    for (int k = 0; k < COLS; k++) {
        const i64 j = column_of<T>(k);
        p[k] = power(beta2[j] - c[k] * inv2 - top, E());
        sum += p[k];
    }
    sum = over_block<Sum>(sum);
    if (threadIdx.x < 32) {
        sum = slices.over<Sum>(2, i, sum);
        if (threadIdx.x == 0) {
            const double old = previous_alpha[i], log_sum = sum > 0.0 ? log(sum) + top * LN2 + old : -infinity();
            const double factor = update_row(rows, i, omega, log_sum, -top * LN2, old, alpha, log_row);
            found = sum > 0.0 ? factor : 0.0;
        }
    }
    __syncthreads();
    return found;  // the next such row writes it behind the barriers of its maximum
}

// The log-domain iteration but for the columns: see `log_sweeps` in protocol.py. parts[band] are column sums.
template <typename T, typename E, int COLS>
__global__ void __launch_bounds__(512)
    log_rows(const T* __restrict__ cost, i64 n, i64 m, i64 most, double* sent, double inv2, const double* beta2,
             const double* packed, int code, double strength, double strength2, double omega, double low, double tiny,
             double huge, double* alpha, const double* previous_alpha, double* log_row, double* __restrict__ parts,
             int* state) {
    if (Flags{state}.stopped()) return;
    Flags{state}.begins();
    SHARED_POOL;
    typedef value_of<T> V;
    constexpr int ROWS = Rows<V, E, COLS>::count, width = Pack<T>::width;
    __shared__ double slots[2][ROWS][32];
    __shared__ double factors[2][ROWS];
    __shared__ bool again[2][ROWS];
    const Share share(n, m, most);
    const Slices slices = {sent, n, share.slices, share.slice};
    const Side rows(packed, n, code, strength, strength2);
    const Trust trust = {low, tiny, huge};
    const RowSums<ROWS> row_sums = {slots};
    const Stream<T, COLS, ROWS> stream(share, cost, m, largest(T()), pool);
    beta2 += share.begin;
    E p[2][ROWS][COLS];
    Columns<E, COLS> columns;
    double start[ROWS];
    for (int q = 0; q < ROWS; q++) start[q] = previous_alpha[stream.row(0, q)] * LOG2E + shift<E>();
    const auto take = [&](i64 group, int half, double(&partial)[ROWS]) {
        E sums[ROWS] = {};
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
                    p[half][q][g + e] = shifted_power(start[q] + beta - c[q][e] * inv2, E());
                    sums[q] += p[half][q][g + e];
                }
            }
        }
#pragma unroll
        for (int q = 0; q < ROWS; q++) {
            partial[q] = sums[q];
            start[q] = previous_alpha[stream.row(group + 1, q)] * LOG2E + shift<E>();
        }
    };
    const auto finish = [&](int half, int q, i64 i) {
        const bool there = i < share.last;
        double sum = row_sums.sum(half, q), factor = 0.0;
        bool repeat = false;
        if (there) sum = slices.over<Sum>(0, i, sum);
        if (threadIdx.x % 32) return;
        if (there && !rows.used(i)) {
            log_row[i] = -infinity();
        } else if (there && trust.row(sum, rows.weight[i])) {
            const double old = previous_alpha[i];
            factor = update_row(rows, i, omega, log(sum), old, old, alpha, log_row);
        } else {
            repeat = there;
        }
        factors[half][q] = factor;
        again[half][q] = repeat;
    };
    const auto add = [&](i64 group, int half) {
#pragma unroll
        for (int q = 0; q < ROWS; q++) {
            const i64 i = stream.row(group, q);
            double factor = factors[half][q];
            if (again[half][q])
                factor = row_by_largest<T, E, COLS>(cost + i * m + share.begin, share, slices, stream.aligned, inv2,
                                                    beta2, rows, i, omega, p[half][q], previous_alpha, alpha, log_row);
            columns.add(factor, p[half][q]);
        }
        if (group % 8 == 7) columns.settle();
    };
    in_groups(stream, row_sums, take, finish, add);
    columns.settle();
    store_columns<T, COLS>(columns.total, share.width, parts + share.band * m + share.begin);
}

// The same for rows of any width: first the rows of a chunk that fits the L2 cache, a block each, ...
template <typename T, typename E>
__global__ void wide_log_rows(const T* __restrict__ cost, i64 m, i64 begin, i64 end, double inv2,
                              const double* __restrict__ beta2, const double* packed, i64 n, int code, double strength,
                              double strength2, double omega, double low, double tiny, double huge, double* alpha,
                              const double* previous_alpha, double* log_row, int* state) {
    if (Flags{state}.stopped()) return;
    if (begin == 0) Flags{state}.begins();
    const Side rows(packed, n, code, strength, strength2);
    const Trust trust = {low, tiny, huge};
    for (i64 i = begin + blockIdx.x; i < end; i += gridDim.x) {
        const T* row = cost + i * m;
        if (!rows.used(i)) {
            if (threadIdx.x == 0) log_row[i] = -infinity();
            continue;
        }
        const double old = previous_alpha[i];
        double sum = 0.0, shift = old;
        for (i64 j = threadIdx.x; j < m; j += blockDim.x)
            sum += power(old * LOG2E + beta2[j] - row[j] * inv2, E());
        sum = over_block<Sum>(sum);
        if (!trust.row(sum, rows.weight[i])) {
            double top = -infinity();
            for (i64 j = threadIdx.x; j < m; j += blockDim.x) top = fmax(top, beta2[j] - row[j] * inv2);
            top = over_block<Max>(top);
            if (top == -infinity()) top = 0.0;
            sum = 0.0;
            for (i64 j = threadIdx.x; j < m; j += blockDim.x) sum += power(beta2[j] - row[j] * inv2 - top, E());
            sum = over_block<Sum>(sum);
            shift = -top * LN2;
        }
        if (threadIdx.x == 0) {
            const double log_sum = sum > 0.0 ? log(sum) + (old - shift) : -infinity();
            update_row(rows, i, omega, log_sum, shift, old, alpha, log_row);
        }
    }
}

// ... then its columns under the new potentials, added to parts[blockIdx.y]; the first chunk begins them.
template <typename T, typename E>
__global__ void wide_log_columns(const T* __restrict__ cost, i64 m, i64 begin, i64 end, double inv2,
                                 const double* __restrict__ beta2, const double* __restrict__ alpha,
                                 double* __restrict__ parts, int* state) {
    if (Flags{state}.stopped()) return;
    const i64 j = blockIdx.x * (i64)blockDim.x + threadIdx.x;
    if (j >= m) return;
    const i64 first = begin + blockIdx.y * (end - begin) / gridDim.y;
    const i64 last = begin + (blockIdx.y + 1) * (end - begin) / gridDim.y;
    double sum = begin == 0 ? 0.0 : parts[blockIdx.y * m + j];
#pragma unroll 4
    for (i64 i = first; i < last; i++) sum += power(alpha[i] * LOG2E + beta2[j] - cost[i * m + j] * inv2, E());
    parts[blockIdx.y * m + j] = sum;
}
