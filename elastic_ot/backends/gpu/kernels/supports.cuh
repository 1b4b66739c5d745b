// Cells of a support: finding them, ordering them, sweeps on them, and those that Newton's matrix keeps.
//
// Found in the cost, then kept twice: by rows, those of row i at pointers[i] : pointers[i + 1], and by columns. So sums
// of rows and of columns read what lies side by side, a block a line. Values of the plan are not stored, which would be
// as much memory again to move: they follow from the potentials.

// The same product and sum, rounded in the same way, wherever it is asked: cells are counted first and written then.
template <typename T>
DEVICE bool kept(const T* row, i64 j, double inv2, double alpha2, const double* beta2, double row_least,
                 const double* col_least) {
    return fma(-(double)row[j], inv2, alpha2 + beta2[j]) > fmin(row_least, col_least[j]);
}

// Where the only warp of a block writes what its lanes keep, from `next` on, in their order.
DEVICE i64 place_of(bool keep, i64& next) {
    const unsigned int votes = __ballot_sync(ALL_LANES, keep);
    const i64 place = next + __popc(votes & ((1u << threadIdx.x) - 1u));
    next += __popc(votes);
    return place;
}

// Cells of a support, a warp each row; blocks are one warp.
template <typename T>
__global__ void count_cells(const T* cost, i64 m, double inv2, const double* alpha2, const double* beta2,
                            const double* row_least, const double* col_least, const i64* which, i64 size, i64* sizes) {
    for (i64 k = blockIdx.x; k < size; k += gridDim.x) {
        const i64 i = which[k];
        i64 found = 0;
        for (i64 j = threadIdx.x; j < m; j += 32)
            found += kept(cost + i * m, j, inv2, alpha2[i], beta2, row_least[i], col_least);
        for (int distance = 16; distance > 0; distance /= 2) found += __shfl_xor_sync(ALL_LANES, found, distance);
        if (threadIdx.x == 0) sizes[k] = found;
    }
}

template <typename T>
__global__ void write_cells(const T* cost, i64 n, i64 m, double inv2, const double* alpha2, const double* beta2,
                            const double* row_least, const double* col_least, const i64* pointers, int* indices,
                            value_of<T>* cells) {
    for (i64 i = blockIdx.x; i < n; i += gridDim.x) {
        i64 next = pointers[i];
        for (i64 start = 0; start < m; start += 32) {
            const i64 j = start + threadIdx.x;
            const bool keep = j < m && kept(cost + i * m, j, inv2, alpha2[i], beta2, row_least[i], col_least);
            const i64 place = place_of(keep, next);
            if (keep) {
                indices[place] = (int)j;
                cells[place] = cost[i * m + j];
            }
        }
    }
}

// pointers[i + 1] = sizes[0] + ... + sizes[i]; one block, of at most 512 threads.
__global__ void __launch_bounds__(512) running_sums(const i64* sizes, i64 count, i64* pointers) {
    __shared__ i64 slots[512];
    const i64 first = threadIdx.x * count / blockDim.x, last = (threadIdx.x + 1) * count / blockDim.x;
    i64 sum = 0;
    for (i64 k = first; k < last; k++) sum += sizes[k];
    slots[threadIdx.x] = sum;
    __syncthreads();
    sum = 0;
    for (unsigned int t = 0; t < threadIdx.x; t++) sum += slots[t];
    if (threadIdx.x == 0) pointers[0] = 0;
    for (i64 k = first; k < last; k++) pointers[k + 1] = sum += sizes[k];
}

// Rows of this block, in one piece.
DEVICE void rows_of_block(i64 n, i64& first, i64& last) {
    first = blockIdx.x * n / gridDim.x;
    last = (blockIdx.x + 1) * n / gridDim.x;
}

// Cells by columns, made of those by rows. A block takes the rows of its part one after the other: the cells of a row
// lie in different columns, so that its threads never count in the same place. Here the cells of every part in every
// column, from counts of 0; ...
__global__ void count_columns(const i64* pointers, const int* indices, i64 n, i64 m, int* counts) {
    int* count = counts + blockIdx.x * m;
    i64 first, last;
    rows_of_block(n, first, last);
    for (i64 i = first; i < last; i++) {
        for (i64 k = pointers[i] + threadIdx.x; k < pointers[i + 1]; k += blockDim.x) count[indices[k]] += 1;
        __syncthreads();
    }
}

// ... then how many cells of a column lie in the parts before; ...
__global__ void column_offsets(i64 parts, i64 m, int* counts, i64* sizes) {
    const i64 j = blockIdx.x * (i64)blockDim.x + threadIdx.x;
    if (j >= m) return;
    int sum = 0;
    for (i64 part = 0; part < parts; part++) {
        const int count = counts[part * m + j];
        counts[part * m + j] = sum;
        sum += count;
    }
    sizes[j] = sum;
}

// ... and, once these sizes are pointers, the cells, in the order of their rows. The grid is that of the count.
template <typename T>
__global__ void write_columns(const i64* pointers, const int* indices, const T* cells, i64 n, i64 m, int* offsets,
                              const i64* col_pointers, int* rows, T* col_cells) {
    int* next = offsets + blockIdx.x * m;
    i64 first, last;
    rows_of_block(n, first, last);
    for (i64 i = first; i < last; i++) {
        for (i64 k = pointers[i] + threadIdx.x; k < pointers[i + 1]; k += blockDim.x) {
            const int j = indices[k];
            const i64 place = col_pointers[j] + next[j];
            next[j] += 1;
            rows[place] = (int)i;
            col_cells[place] = cells[k];
        }
        __syncthreads();
    }
}

// The sum over a line of 2^(shift + other2 - cost inv2); with the line's own potential as `shift`, of the plan.
template <typename T>
DEVICE double line_sum(const int* others, const T* cost, i64 first, i64 last, double inv2, double shift,
                       const double* other2) {
    double sum = 0.0;
    for (i64 k = first + threadIdx.x; k < last; k += blockDim.x)
        sum += plan_entry(shift + other2[others[k]] - cost[k] * inv2);
    return over_block<Sum>(sum);
}

// Second third of an iteration on a support: the sums of its rows, and the rows' update. alpha2 goes with alpha.
template <typename T>
__global__ void support_rows(const i64* pointers, const int* indices, const T* cost, i64 n, double inv2,
                             const double* beta2, const double* packed, int code, double strength, double strength2,
                             double omega, double low, double tiny, double huge, double* alpha, double* alpha2,
                             const double* previous_alpha, double* log_row, int* state) {
    const Flags found = {state};
    if (found.stopped()) return;
    found.begins();
    const Side rows(packed, n, code, strength, strength2);
    const Trust trust = {low, tiny, huge};
    for (i64 i = blockIdx.x; i < n; i += gridDim.x) {
        const i64 first = pointers[i], last = pointers[i + 1];
        const double old = previous_alpha[i];
        double log_sum = -infinity(), shift = old;
        if (rows.used(i)) {
            double sum = line_sum(indices, cost, first, last, inv2, old * LOG2E, beta2);
            if (!trust.row(sum, rows.weight[i])) {
                double top = -infinity();
                for (i64 k = first + threadIdx.x; k < last; k += blockDim.x)
                    top = fmax(top, beta2[indices[k]] - cost[k] * inv2);
                top = over_block<Max>(top);
                shift = -top * LN2;
                sum = top > -infinity() ? line_sum(indices, cost, first, last, inv2, -top, beta2) : 0.0;
            }
            if (sum > 0.0) log_sum = log(sum) + (old - shift);
        }
        if (threadIdx.x == 0) {
            if (log_sum > -infinity()) {
                update_row(rows, i, omega, log_sum, shift, old, alpha, log_row);
            } else {
                log_row[i] = -infinity();
                if (rows.used(i)) found.unsound();
            }
            alpha2[i] = alpha[i] * LOG2E;
        }
    }
}

// Last third: the sums of its columns.
template <typename T>
__global__ void support_columns(const i64* pointers, const int* rows, const T* cost, i64 m, double inv2,
                                const double* alpha2, const double* beta2, const double* packed, double tiny,
                                double huge, double* log_col, int* state) {
    const Flags found = {state};
    if (found.stopped()) return;
    for (i64 j = blockIdx.x; j < m; j += gridDim.x) {
        const double sum = line_sum(rows, cost, pointers[j], pointers[j + 1], inv2, beta2[j], alpha2);
        if (threadIdx.x == 0) log_col[j] = column_log(packed[m + j] > -infinity(), sum, tiny, huge, found);
    }
}

// The entry of a cell, rounded in the same way wherever it is asked: entries, too, are counted first and written then.
template <typename T>
DEVICE double cell_entry(T cost, double inv2, double alpha2, double beta2) {
    return plan_entry(fma(-(double)cost, inv2, alpha2 + beta2));
}

template <typename T>
__global__ void count_entries(const i64* pointers, const int* indices, const T* cost, i64 n, double inv2,
                              const double* alpha2, const double* beta2, const double* row_least,
                              const double* col_least, i64* sizes) {
    for (i64 i = blockIdx.x; i < n; i += gridDim.x) {
        double found = 0.0;
        for (i64 k = pointers[i] + threadIdx.x; k < pointers[i + 1]; k += blockDim.x) {
            const int j = indices[k];
            found += cell_entry(cost[k], inv2, alpha2[i], beta2[j]) > fmin(row_least[i], col_least[j]);
        }
        found = over_block<Sum>(found);
        if (threadIdx.x == 0) sizes[i] = (i64)found;
    }
}

// Blocks are one warp.
template <typename T>
__global__ void write_entries(const i64* pointers, const int* indices, const T* cost, i64 n, double inv2,
                              const double* alpha2, const double* beta2, const double* row_least,
                              const double* col_least, const i64* kept_pointers, int* kept_indices,
                              double* kept_values) {
    for (i64 i = blockIdx.x; i < n; i += gridDim.x) {
        const i64 last = pointers[i + 1];
        i64 next = kept_pointers[i];
        for (i64 start = pointers[i]; start < last; start += 32) {
            const i64 k = start + threadIdx.x;
            const int j = k < last ? indices[k] : 0;
            const double p = k < last ? cell_entry(cost[k], inv2, alpha2[i], beta2[j]) : 0.0;
            const bool keep = k < last && p > fmin(row_least[i], col_least[j]);
            const i64 place = place_of(keep, next);
            if (keep) {
                kept_indices[place] = j;
                kept_values[place] = p;
            }
        }
    }
}
