// The update rule of every penalty: `potential`, as in cpu/dense.py, and the steps made of it.

// One marginal (protocol.Side): weight, log_weight and offset are the three rows of `packed`.
struct Side {
    const double *weight, *log_weight, *offset;
    int code;
    double strength, strength2;

    DEVICE Side(const double* packed, i64 size, int code_, double strength_, double strength2_)
        : weight(packed), log_weight(packed + size), offset(packed + 2 * size), code(code_), strength(strength_),
          strength2(strength2_) {}

    DEVICE bool used(i64 i) const { return log_weight[i] > -infinity(); }

    // True where the update is a division: a fixed marginal, not damped.
    DEVICE bool plain(double omega) const { return code == 0 && strength == 1.0 && omega == 1.0; }
};

// Root F of weight - strength F = weight exp(F - log_ratio): Newton on a convex form, from the right.
DEVICE double quadratic(double weight, double strength, double log_ratio) {
    const double slope = strength / weight;
    if (log_ratio > 0.0) {
        double x = fmin(log_ratio, 1.0 / slope);
        for (int k = 0; k < 60; k++) {
            const double e = exp(x - log_ratio), step = (e + slope * x - 1.0) / (e + slope);
            x -= step;
            if (fabs(step) <= 1e-15 * (1.0 + fabs(x))) break;
        }
        return x;
    }
    // what is asked for is weight exp(z), and F = log_ratio + z; z is at most either bound, and both are met in a limit
    double z = fmin(-log_ratio, log1p(-slope * log_ratio));
    for (int k = 0; k < 60; k++) {
        const double more = expm1(z), step = (z + log_ratio + more / slope) / (1.0 + (1.0 + more) / slope);
        z -= step;
        if (fabs(step) <= 1e-15 * (1.0 - log_ratio)) break;
    }
    const double x = expm1(z) / slope;
    return x * z > -log_ratio ? log_ratio + z : -x;  // whichever has more digits
}

DEVICE double potential(const Side& side, i64 i, double log_ratio) {
    switch (side.code) {
        case 0: return side.strength * log_ratio;
        case 1: return fmin(fmax(log_ratio, -side.strength), side.strength);
        case 2: return fmin(fmax(0.0, side.strength + log_ratio), side.strength2 + log_ratio);
        default: return quadratic(side.weight[i], side.strength, log_ratio);
    }
}

// How far entry i moves, given the logarithm of its marginal: omega times the way to the exact update.
DEVICE double change(const Side& side, i64 i, double omega, double alpha, double log_sum) {
    const double old = alpha - side.offset[i];
    return omega * (potential(side, i, side.log_weight[i] - log_sum + old) - old);
}

// The new scaling of entry i from the old one and its sum `total`, so that the marginal is old * total.
DEVICE double rescaled(const Side& side, i64 i, double omega, double base, double old, double total) {
    if (side.plain(omega)) return side.weight[i] / total;
    const double scaled = log(old) + base - side.offset[i];
    const double ratio = side.log_weight[i] - log(old * total) + scaled;
    const double target = potential(side, i, ratio);
    return exp(side.offset[i] - base + scaled + omega * (target - scaled));
}

// Penalties alone, for any number of problems with a rule each: out = F, -inf on removed entries.
__global__ void potentials(const double* weight, const double* log_weight, const i64* code, const double* strength,
                           const double* strength2, i64 problems, i64 size, const double* log_ratio, double* out) {
    for (i64 q = blockIdx.x * (i64)blockDim.x + threadIdx.x; q < problems * size; q += (i64)gridDim.x * blockDim.x) {
        const i64 k = q / size;
        Side side(weight, 0, (int)code[k], strength[k], strength2[k]);
        out[q] = log_weight[q] > -infinity() ? potential(side, q, log_ratio[q]) : -infinity();
    }
}
