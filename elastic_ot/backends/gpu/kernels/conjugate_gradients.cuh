// The recurrences of conjugate gradients.

// A step along the direction, given acc, with acc * col_factor = (P^T row_weight P) direction; then the next direction
// and, scaled by the columns, what the next product is applied to. One block. What it returns is `stopped`. Where
// col_factor is 0 it stands for ones, and there is no `scaled`.
__global__ void __launch_bounds__(512)
    advance(i64 m, const double* diagonal, const double* acc, const double* col_factor, double* x, double* residual,
            double* direction, const double* preconditioner, double* scalar, double* scaled, double goal, double radius,
            int* state) {
    if (state[0]) return;
    const double energy = *scalar;
    double curvature = 0.0;
    const auto image = [&](i64 j) {
        return diagonal[j] * direction[j] - (col_factor ? acc[j] * col_factor[j] : acc[j]);
    };
    for (i64 j = threadIdx.x; j < m; j += blockDim.x) curvature += direction[j] * image(j);
    curvature = over_block<Sum>(curvature);
    int code = curvature > 0.0 ? 0 : 2;
    if (code == 0) {
        const double step = energy / curvature;
        double total = 0.0, product = 0.0, largest = 0.0;
        for (i64 j = threadIdx.x; j < m; j += blockDim.x) {
            x[j] += step * direction[j];
            if (preconditioner[j] > 0.0) residual[j] -= step * image(j);
            total += fabs(residual[j]);
            product += preconditioner[j] * residual[j] * residual[j];
            largest = fmax(largest, fabs(x[j]));
        }
        total = over_block<Sum>(total);
        product = over_block<Sum>(product);
        largest = over_block<Max>(largest);
        code = largest > radius ? 2 : total <= goal ? 1 : 0;
        for (i64 j = threadIdx.x; j < m; j += blockDim.x) {
            if (largest > radius) x[j] *= radius / largest;
            if (code == 0) {
                direction[j] = preconditioner[j] * residual[j] + (product / energy) * direction[j];
                if (col_factor) scaled[j] = col_factor[j] * direction[j];
            }
        }
        if (threadIdx.x == 0 && code == 0) *scalar = product;
    }
    if (threadIdx.x == 0) state[0] = code;
}
