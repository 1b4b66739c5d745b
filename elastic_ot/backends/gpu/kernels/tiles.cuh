// Many problems, a tile of K a thread: what `batch_tiles` is made of.
//
// Most problems need one K and nothing else: a sweep is then a product with K, a division for each row, and a product
// with K^T. Here K stays where it is computed with from the first iteration to the last: a thread has R rows and C
// columns of it in registers, its first S rows in shared memory, which is read once an iteration. L lanes share R rows;
// H such sets of lanes in each of W warps have a problem of up to H W R rows and L C columns. Without warps to share
// (W = 1) a block has several problems, and there is no barrier; a lane with a problem of its own asks nobody.
//
// K is made relative to the largest entry of each row, scalings and sums are floats: sums of up to 16 terms, then
// trees. That is good as long as no scaling exceeds REACH: K ends at 2^-126, so cells with less than 1e-14 of the mass
// are all that is lost, and sums lie between 1e-33 and 1e15. Whoever finds more, or a sum of nothing but LEAST_SUM,
// writes nothing but done = -1, and the problem is for batch_solve.

constexpr float REACH = 1e12f, LEAST_SUM = 1e-36f, LEAST_WEIGHT = 1e-20f;

template <int L, int H, int W, int R, int C, int S>
struct Tile {
    static constexpr bool alone = L * H * W == 1;
    static constexpr int threads = W > 1 ? 32 * W : 128, lanes = W > 1 ? threads : L * H, problems = threads / lanes;
    static constexpr int cols = L * C, own_cols = C / (H * W);  // those that a thread updates
    static constexpr int stride = cols + (L < 8 ? 4 * L : 0);   // between sums of columns, so that banks differ
    static constexpr int floats = alone ? 0 : H * W * stride + cols;
};

// Sums of Q rows over L lanes: each lane is dealt its share of the rows, or several the same row.
template <int L, int Q>
struct Dealt {
    static constexpr int own = Q > L ? Q / L : 1, holders = L > Q ? L / Q : 1;
    static DEVICE int first(int l) { return l * Q / L; }
    static DEVICE bool writes(int l) { return l % holders == 0; }

    static DEVICE void sum(int l, float (&x)[Q]) {
#pragma unroll
        for (int distance = L / 2, left = Q; distance > 0; distance /= 2) {
            left = left > 1 ? left / 2 : 0;
            if (left == 0) x[0] += __shfl_xor_sync(ALL_LANES, x[0], distance);
            const bool upper = l & distance;
#pragma unroll
            for (int q = 0; q < left; q++) {
                const float other = __shfl_xor_sync(ALL_LANES, upper ? x[q] : x[q + left], distance);
                x[q] = (upper ? x[q + left] : x[q]) + other;
            }
        }
    }

    // All Q numbers to every lane.
    static DEVICE void spread(int lane, const float* mine, float (&x)[Q]) {
#pragma unroll
        for (int q = 0; q < Q; q++)
            x[q] = L == 1 ? mine[q] : __shfl_sync(ALL_LANES, mine[q % own], lane / L * L + q / own * holders);
    }
};

// COUNT numbers of a row from column 4 l on, in groups of four that are 4 L apart; `beyond` from m on, but there is
// one to read. In PACKS, where the row has whole groups and is aligned.
template <int L, bool PACKS, int COUNT, typename T>
DEVICE void load_groups(const T* row, int m, int l, value_of<T> beyond, value_of<T> (&x)[COUNT]) {
    constexpr int width = PACKS ? Pack<T>::width : 1;
#pragma unroll
    for (int c = 0; c < COUNT; c += width) {
        const int j = c / 4 * 4 * L + 4 * l + c % 4;
        const T* const from = row + (j < m ? j : 0);  // without a branch, so that all are under way at once
        if (PACKS) {
            const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(from);
#pragma unroll
            for (int e = 0; e < width; e++) x[c + e] = j < m ? (value_of<T>)pack.x[e] : beyond;
        } else {
            const value_of<T> found = *from;
            x[c] = j < m ? found : beyond;
        }
    }
}

template <int L, bool PACKS, int COUNT, typename T>
DEVICE void store_groups(const T (&x)[COUNT], int m, int l, T* row) {
    constexpr int width = PACKS ? Pack<T>::width : 1;
#pragma unroll
    for (int c = 0; c < COUNT; c += width) {
        const int j = c / 4 * 4 * L + 4 * l + c % 4;
        Pack<T> pack;
#pragma unroll
        for (int e = 0; e < width; e++) pack.x[e] = x[c + e];
        if (PACKS && j < m) *reinterpret_cast<Pack<T>*>(row + j) = pack;
        if (!PACKS && j < m) row[j] = x[c];
    }
}

struct Yes {
    static constexpr bool value = true;
};
struct No {
    static constexpr bool value = false;
};

// One of two ways, chosen for all threads of a problem at once.
template <typename Way>
DEVICE void either(bool packs, Way way) {
    if (packs)
        way(Yes());
    else
        way(No());
}

DEVICE float reciprocal(float x) {
    float y;
    RECIPROCAL(y, x);
    return y;
}

// log2 of a normal number: its exponent apart, so that a large one costs no digits.
DEVICE double log2_of(float x) {
    const int bits = __float_as_int(x), whole = (bits - 0x3f3504f3) >> 23;
    return whole + (double)log2f(__int_as_float(bits - (whole << 23)));
}

// `BatchSide::step` of an entry in use; a sum that cannot be trusted is answered by a scaling that cannot either.
__device__ __noinline__ float soft_step(const BatchSide& side, i64 i, double base, float old, float sum, float& error) {
    double change = 0.0;
    const double moved = sum > 1e-28f ? side.step(i, base, old, sum, change) : infinity();
    error += (float)change;
    return moved > 1e-30 ? (float)moved : __int_as_float(0x7f800000);
}

// The sum over the threads of a problem, for all of them.
template <int LANES, int W>
DEVICE double over_problem(double x) {
    if (W > 1) return over_block<Sum>(x);
    if constexpr (LANES > 1)
#pragma unroll
        for (int distance = 1; distance < LANES; distance *= 2) x += __shfl_xor_sync(ALL_LANES, x, distance);
    return x;
}

template <int W>
DEVICE void wait_for_problem() {
    if (W > 1)
        __syncthreads();
    else
        __syncwarp();
}
