// Newton's sparse matrix, kept by rows and by columns: products, squares, its Gram matrix.

// A product with the lines of a sparse matrix, out_i = factor_i sum_k values_ik x_k. The rows have a factor, once an
// iteration of conjugate gradients; the columns have 0, which stands for ones.
__global__ void sparse_times(const i64* pointers, const int* others, const double* values, i64 lines, const double* x,
                             const double* factor, double* out, int* state) {
    const Flags found = {state};
    if (found.stopped()) return;
    if (factor) found.begins();
    for (i64 i = blockIdx.x; i < lines; i += gridDim.x) {
        double sum = 0.0;
        for (i64 k = pointers[i] + threadIdx.x; k < pointers[i + 1]; k += blockDim.x) sum += values[k] * x[others[k]];
        sum = over_block<Sum>(sum);
        if (threadIdx.x == 0) out[i] = factor ? factor[i] * sum : sum;
    }
}

__global__ void sparse_squares(const i64* pointers, const int* rows, const double* values, i64 m,
                               const double* row_weight, double* out) {
    for (i64 j = blockIdx.x; j < m; j += gridDim.x) {
        double sum = 0.0;
        for (i64 k = pointers[j] + threadIdx.x; k < pointers[j + 1]; k += blockDim.x)
            sum += row_weight[rows[k]] * values[k] * values[k];
        sum = over_block<Sum>(sum);
        if (threadIdx.x == 0) out[j] = sum;
    }
}

// A block a line of the result, to which it adds the rows of the matrix that meet it, one after the other.
__global__ void sparse_gram(const i64* pointers, const int* indices, const double* values, const i64* col_pointers,
                            const int* rows, const double* col_values, i64 m, const double* row_weight, double* out) {
    for (i64 j = blockIdx.x; j < m; j += gridDim.x) {
        double* line = out + j * m;
        for (i64 q = threadIdx.x; q < m; q += blockDim.x) line[q] = 0.0;
        for (i64 c = col_pointers[j]; c < col_pointers[j + 1]; c++) {
            __syncthreads();
            const i64 i = rows[c];
            const double factor = row_weight[i] * col_values[c];
            for (i64 k = pointers[i] + threadIdx.x; k < pointers[i + 1]; k += blockDim.x)
                line[indices[k]] += factor * values[k];
        }
    }
}
