// Between the sweeps: column sums of all blocks, column updates, O(m), and who stops the block of iterations.

// Column j of the sum over parts, for blocks of 256 threads with 32 columns each: warp w takes the parts w, w + 8, ...,
// and the first warp adds the eight sums in order. Only its lanes get the result.
DEVICE double over_parts(const double* parts, i64 count, i64 m, i64 j) {
    __shared__ double slots[8][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    double sum = 0.0;
    if (j < m)
        for (i64 part = warp; part < count; part += 8) sum += parts[part * m + j];
    slots[warp][lane] = sum;
    __syncthreads();
    if (warp == 0) {
        sum = slots[0][lane];
        for (int w = 1; w < 8; w++) sum += slots[w][lane];
    }
    return sum;
}

__global__ void sum_parts(const double* parts, i64 count, i64 m, double* out) {
    const i64 j = blockIdx.x * 32LL + threadIdx.x % 32;
    const double sum = over_parts(parts, count, m, j);
    if (threadIdx.x < 32 && j < m) out[j] = sum;
}

__global__ void max_parts(const double* parts, i64 count, i64 m, double* out) {
    const i64 j = blockIdx.x * (i64)blockDim.x + threadIdx.x;
    if (j >= m) return;
    double top = parts[j];
    for (i64 part = 1; part < count; part++) top = fmax(top, parts[part * m + j]);
    out[j] = top;
}

// First third of a log-domain iteration: beta moves by the column sums known from the one before, and alpha is kept.
__global__ void log_columns(i64 n, i64 m, const double* packed, int code, double strength, double strength2,
                            double omega, const double* alpha, double* previous_alpha, double* beta, double* beta2,
                            const double* log_col, double* log_col_updated, int* state) {
    if (Flags{state}.stops()) return;
    const Side cols(packed, m, code, strength, strength2);
    const i64 j = blockIdx.x * (i64)blockDim.x + threadIdx.x;
    if (j < n) previous_alpha[j] = alpha[j];
    if (j >= m) return;
    if (cols.used(j)) {
        const double moved = change(cols, j, omega, beta[j], log_col[j]);
        beta[j] += moved;
        log_col_updated[j] = log_col[j] + moved;
    } else {
        log_col_updated[j] = -infinity();
    }
    beta2[j] = beta[j] * LOG2E;
}

// The logarithm of a column's sum, 0 where that cannot be trusted, which is said.
DEVICE double column_log(bool used, double sum, double tiny, double huge, const Flags& found) {
    if (!used) return -infinity();
    if (sum > tiny && sum < huge) return log(sum);
    found.unsound();
    return 0.0;
}

// Last third: log_col from the blocks' sums. An iteration with a sum that cannot be trusted is the last one: the host
// sums such columns again, relative to their largest entries.
__global__ void log_sums(const double* parts, i64 count, i64 m, const double* packed, double tiny, double huge,
                         double* log_col, int* state) {
    const Flags found = {state};
    if (found.stopped()) return;
    const i64 j = blockIdx.x * 32LL + threadIdx.x % 32;
    const double sum = over_parts(parts, count, m, j);
    if (threadIdx.x >= 32 || j >= m) return;
    log_col[j] = column_log(packed[m + j] > -infinity(), sum, tiny, huge, found);
}

// First third of an iteration of scaling. States alternate between two sets of vectors, so that an iteration that
// fails has not touched the sound one.
__global__ void scaling_columns(i64 m, const double* packed, int code, double strength, double strength2, double omega,
                                const double* base, const double* v_old, const double* col_sum_old, double* v_new,
                                double* updated, int* state) {
    if (Flags{state}.stops()) return;
    const Side cols(packed, m, code, strength, strength2);
    const i64 j = blockIdx.x * (i64)blockDim.x + threadIdx.x;
    if (j >= m) return;
    const double v = v_old[j], sum = col_sum_old[j];
    const bool used = cols.used(j) && v > 0.0;
    v_new[j] = used ? rescaled(cols, j, omega, base[j], v, sum / v) : 0.0;
    updated[j] = used ? sum * (v_new[j] / v) : 0.0;
}

__global__ void scaling_sums(const double* parts, i64 count, i64 m, const double* packed, double limit, const double* v,
                             double* col_sum, int* state) {
    const Flags found = {state};
    if (found.stopped()) return;
    const i64 j = blockIdx.x * 32LL + threadIdx.x % 32;
    const double sum = over_parts(parts, count, m, j);
    if (threadIdx.x >= 32 || j >= m) return;
    const double marginal = v[j] * sum;
    col_sum[j] = marginal;
    if (!(packed[m + j] > -infinity())) return;
    if (!(v[j] > 1e-300 && v[j] < 1e300 && marginal > 1e-300 && marginal < 1e300)) found.unsound();
    if (!(v[j] > 1.0 / limit && v[j] < limit)) found.outside();
}
