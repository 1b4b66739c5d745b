// The same with a stored matrix, read once: sweeps of scaling, and products with Newton's matrix.

// The row half of two things with a stored matrix: a sweep of scaling, u_i updated from s_i = K_i x, and a product with
// Newton's matrix, u_i = row_weight_i s_i. Then parts[block] = sum of u_i K_i.
struct Scaling {
    static DEVICE double row(const Side& rows, i64 i, double omega, const double* base, const double* u_old, double sum,
                             double limit, double* u_new, double* u_before, double* row_sum, const Flags& found) {
        u_before[i] = u_old[i];
        if (!rows.used(i)) {
            u_new[i] = row_sum[i] = 0.0;
            return 0.0;
        }
        const double u = rescaled(rows, i, omega, base[i], u_old[i], sum), marginal = u_old[i] * sum;
        u_new[i] = u;
        row_sum[i] = marginal;
        if (!(u > 1e-300 && u < 1e300 && marginal > 1e-300 && marginal < 1e300)) found.unsound();
        if (!(u > 1.0 / limit && u < limit)) found.outside();
        return u;
    }
};
struct Product {
    static DEVICE double row(const Side& rows, i64 i, double, const double*, const double*, double sum, double, double*,
                             double*, double*, const Flags&) {
        return rows.weight[i] * sum;
    }
};

template <typename T, typename Use, int COLS>
__global__ void __launch_bounds__(512)
    dense_rows(const T* __restrict__ kernel, i64 n, i64 m, i64 most, double* sent, const double* x,
               const double* packed, int code, double strength, double strength2, double omega, const double* base,
               const double* u_old, double limit, double* u_new, double* u_before, double* row_sum,
               double* __restrict__ parts, int* state) {
    const Flags found = {state};
    if (found.stopped()) return;
    found.begins();
    SHARED_POOL;
    constexpr int ROWS = Rows<T, T, COLS>::count, width = Pack<T>::width;
    __shared__ double slots[2][ROWS][32];
    __shared__ double factors[2][ROWS];
    const Share share(n, m, most);
    const Slices slices = {sent, n, share.slices, share.slice};
    const Side rows(packed, n, code, strength, strength2);
    const RowSums<ROWS> row_sums = {slots};
    const Stream<T, COLS, ROWS> stream(share, kernel, m, T(0), pool);
    x += share.begin;
    T c[2][ROWS][COLS];
    Columns<double, COLS> columns;
    const auto take = [&](i64 group, int half, double(&partial)[ROWS]) {
#pragma unroll
        for (int g = 0; g < COLS; g += width) {
            T pack[ROWS][width];
#pragma unroll
            for (int q = 0; q < ROWS; q++) stream.take(group, q, g / width, pack[q]);
#pragma unroll
            for (int e = 0; e < width; e++) {
                const double v = x[column_of<T>(g + e)];
#pragma unroll
                for (int q = 0; q < ROWS; q++) {
                    c[half][q][g + e] = pack[q][e];
                    partial[q] += pack[q][e] * v;
                }
            }
        }
    };
    const auto finish = [&](int half, int q, i64 i) {
        double sum = row_sums.sum(half, q), factor = 0.0;
        if (i < share.last) sum = slices.over<Sum>(0, i, sum);
        if (threadIdx.x % 32) return;
        if (i < share.last)
            factor = Use::row(rows, i, omega, base, u_old, sum, limit, u_new, u_before, row_sum, found);
        factors[half][q] = factor;
    };
    const auto add = [&](i64, int half) {
#pragma unroll
        for (int q = 0; q < ROWS; q++) {
#pragma unroll
            for (int k = 0; k < COLS; k++) columns.total[k] += factors[half][q] * c[half][q][k];
        }
    };
    in_groups(stream, row_sums, take, finish, add);
    store_columns<T, COLS>(columns.total, share.width, parts + share.band * m + share.begin);
}

template <typename T, typename Use>
__global__ void wide_dense_rows(const T* __restrict__ kernel, i64 m, i64 begin, i64 end, const double* __restrict__ x,
                                const double* packed, i64 n, int code, double strength, double strength2, double omega,
                                const double* base, const double* u_old, double limit, double* u_new, double* u_before,
                                double* row_sum, double* factors, int* state) {
    const Flags found = {state};
    if (found.stopped()) return;
    if (begin == 0) found.begins();
    const Side rows(packed, n, code, strength, strength2);
    for (i64 i = begin + blockIdx.x; i < end; i += gridDim.x) {
        double sum = 0.0;
        for (i64 j = threadIdx.x; j < m; j += blockDim.x) sum += kernel[i * m + j] * x[j];
        sum = over_block<Sum>(sum);
        if (threadIdx.x == 0)
            factors[i] = Use::row(rows, i, omega, base, u_old, sum, limit, u_new, u_before, row_sum, found);
    }
}

template <typename T>
__global__ void wide_dense_columns(const T* __restrict__ kernel, i64 m, i64 begin, i64 end,
                                   const double* __restrict__ factors, double* __restrict__ parts, int* state) {
    if (Flags{state}.stopped()) return;
    const i64 j = blockIdx.x * (i64)blockDim.x + threadIdx.x;
    if (j >= m) return;
    const i64 first = begin + blockIdx.y * (end - begin) / gridDim.y;
    const i64 last = begin + (blockIdx.y + 1) * (end - begin) / gridDim.y;
    double sum = begin == 0 ? 0.0 : parts[blockIdx.y * m + j];
#pragma unroll 4
    for (i64 i = first; i < last; i++) sum += factors[i] * kernel[i * m + j];
    parts[blockIdx.y * m + j] = sum;
}
