// The primitives of protocol.py in CUDA C++, compiled by NVRTC when first used (gpu.py launches them).
//
// Contents
//     types, exponentials, reductions    what every kernel below is made of
//     the update rule of every penalty   `potential`, as in cpu.py
//     streams and slices                 how rows come from memory, and how blocks that share a row wait for each other
//     fused sweeps                       log_rows, dense_rows: one read of the matrix gives row sums, the row update
//                                        and column sums; rows too wide for all blocks together in wide_*
//     between the sweeps                 column updates and sums, O(m), and who stops the block of iterations
//     conjugate gradients                the recurrences, one block
//     passes over the plan               maxima, products, plan, tangent, rounding, the cheapest cells of rows
//     cells of a support                 finding them, ordering them, sweeps and products on them
//     many problems                      all iterations in one launch: a block each, or a tile of K a thread
//
// Conventions. Matrices are stored by rows, n x m, and indexed in 64 bits. Potentials arrive in units of epsilon; where
// a name ends in 2 they are multiplied by log2(e), so that exponentials are powers of two. T is the type of the cost, V
// that of its entries once loaded, E that of the exponentials; arguments, sums and vectors are double whatever these
// are. Blocks have a multiple of 32 threads. Every sum is taken in an order that depends on the launch alone, never on timing: there is no atomic.
//
// Iterations of a block are launched one after the other, or replayed as a graph, without asking how they went. One that
// finds that the block must end there says so in `Flags`: the kernels after it return at once, and the host looks after
// the last one.

typedef long long i64;

#define DEVICE __device__ __forceinline__

// What the host build (tests/gpu_shim) has functions of its own for.
#ifndef ON_HOST
#define HALF_TO_FLOAT(x, bits) asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits))
#define POWER_OF_TWO(x, y) asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(x) : "f"(y))
#define RECIPROCAL(y, x) asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x))
#define PREFETCH(address) asm volatile("prefetch.global.L2 [%0];" ::"l"(address))
#define SHARED_POOL extern __shared__ __align__(16) double pool[]
#define WAITING
#if __CUDA_ARCH__ >= 800
// Copies of so many bytes to shared memory that the thread does not wait for; those since the last COPIES_END are a
// group, and COPIES_WAIT waits for all groups but the last `pending` ones.
#define COPY(to, from, bytes)                                                                                  \
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"((unsigned int)__cvta_generic_to_shared(to)), \
                 "l"(from), "n"(bytes)                                                                         \
                 : "memory")
#define COPIES_END() asm volatile("cp.async.commit_group;" ::: "memory")
#define COPIES_WAIT(pending) asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory")
#else
#define COPY(to, from, bytes) memcpy(to, from, bytes)
#define COPIES_END()
#define COPIES_WAIT(pending)
#endif
#endif

// Numbers of 16 bits, to be read only: arithmetic is that of float. Half is float16, Brain bfloat16, which is the upper
// half of a float.
struct Half {
    unsigned short bits;
    DEVICE operator float() const {
        float x;
        HALF_TO_FLOAT(x, bits);
        return x;
    }
};
struct Brain {
    unsigned short bits;
    DEVICE operator float() const { return __int_as_float(static_cast<int>(static_cast<unsigned int>(bits) << 16)); }
};

// What an entry is computed with.
template <typename T>
struct Value {
    typedef T type;
};
template <>
struct Value<Half> {
    typedef float type;
};
template <>
struct Value<Brain> {
    typedef float type;
};
template <typename T>
using value_of = typename Value<T>::type;

constexpr double LOG2E = 1.4426950408889634, LN2 = 0.6931471805599453;
constexpr unsigned int ALL_LANES = 0xffffffffu;

DEVICE double infinity() { return __longlong_as_double(0x7ff0000000000000LL); }
DEVICE Half largest(Half) { return Half{0x7c00}; }
DEVICE Brain largest(Brain) { return Brain{0x7f80}; }
template <typename T>
DEVICE T largest(T) {
    return infinity();
}

// What is known of a block of iterations: four ints, all 0 at first. `stopped`: nothing more is to be done; `unsound`: a
// sum or a scaling vanished or overflowed in the last iteration; `outside`: a scaling left its limit there; `begun`:
// iterations that came to their rows. Threads that find the same write the same, and no kernel reads what it counts, so
// that a block can be launched any number of times with the same arguments.
struct Flags {
    int* state;

    DEVICE bool stopped() const { return state[0]; }
    DEVICE void unsound() const { state[1] = 1; }
    DEVICE void outside() const { state[2] = 1; }

    // For the kernel that does the rows, once an iteration.
    DEVICE void begins() const {
        if (blockIdx.x == 0 && threadIdx.x == 0) state[3] += 1;
    }

    // For the first kernel of an iteration: is it stopped by the one before?
    DEVICE bool stops() const {
        const bool stop = state[0] || state[1] || state[2];
        if (stop && blockIdx.x == 0 && threadIdx.x == 0) state[0] = 1;
        return stop;
    }
};

// --- exponentials ----------------------------------------------------------------------------------------------------

// 2^y in the precision of the second argument; y is always computed in double, because rounding it to float would cost
// abs(y) 4e-8. In float y is shifted to where the low word of a double is its fraction and the high word, but for a
// constant, its whole part. The fraction goes through the hardware's power (2e-7), the whole part into the exponent. 0
// below 2^-126, and more than 1e38, which no sum is trusted with, from 2^127 on. Conversions of doubles take as long as
// powers: there is none.
template <typename E>
DEVICE constexpr double shift() {
    return sizeof(E) == 4 ? 0x1.8p20 : 0.0;
}
DEVICE float shifted_power(double y, float) {
    constexpr int zero = 0x41380000;  // the high word of the shift
    const int whole = __double2hiint(y);
    const unsigned int fraction = __double2loint(y);
    float x;
    POWER_OF_TWO(x, __int_as_float((fraction >> 9) | 0x3f800000));  // in [2, 4)
    x = __int_as_float(__float_as_int(x) + ((unsigned int)((whole < zero + 127 ? whole : zero + 127) - zero - 1) << 23));
    return whole >= zero - 126 ? x : 0.0f;
}
DEVICE double shifted_power(double y, double) { return exp2(y); }
DEVICE float power(double y, float) { return shifted_power(y + shift<float>(), 0.0f); }
DEVICE double power(double y, double) { return exp2(y); }

// 2^y, exactly 0 where the result would not be a normal number: what cpu.py stores in plans.
DEVICE double plan_entry(double y) { return y > -1021.0 ? exp2(y) : 0.0; }

// --- reductions ------------------------------------------------------------------------------------------------------

struct Sum {
    static DEVICE double neutral() { return 0.0; }
    static DEVICE double of(double x, double y) { return x + y; }
};
struct Max {
    static DEVICE double neutral() { return -infinity(); }
    static DEVICE double of(double x, double y) { return fmax(x, y); }
};

// Every lane gets the result; lanes combine in a tree.
template <typename Op>
DEVICE double over_warp(double x) {
    for (int distance = 16; distance > 0; distance /= 2) x = Op::of(x, __shfl_xor_sync(ALL_LANES, x, distance));
    return x;
}

// Every thread gets the result; warps combine in order.
template <typename Op>
DEVICE double over_block(double x) {
    __shared__ double slots[32];
    const int warp = threadIdx.x / 32, warps = blockDim.x / 32;
    x = over_warp<Op>(x);
    __syncthreads();  // the slots of the call before have been read
    if (threadIdx.x % 32 == 0) slots[warp] = x;
    __syncthreads();
    double result = slots[0];
    for (int w = 1; w < warps; w++) result = Op::of(result, slots[w]);
    return result;
}

// --- the update rule of every penalty --------------------------------------------------------------------------------

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
    double x = 0.0;
    for (int k = 0; k < 60; k++) {
        const double rest = 1.0 - slope * x, step = (x - log_ratio - log(rest)) / (1.0 + slope / rest);
        x -= step;
        if (fabs(step) <= 1e-15 * (1.0 + fabs(x))) break;
    }
    return x;
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

// --- fused sweeps ----------------------------------------------------------------------------------------------------
// A block owns rows, a thread the same COLS columns of every row: ROWS rows of the matrix are read into registers, their
// sums go through shared memory, one warp a row updates it, and the entries, still in registers, are added to the
// column sums. These stay in registers, too, and are written once, so that the matrix is the only large thing read.
// Columns lie in groups of 16 bytes, or 8 of half precision, to be loaded at once where rows are aligned so.
//
// The vector that goes with the columns (beta2, x) is read again for every few rows, from the L1 cache: registers do not
// hold it, too. It is not `__restrict__`, else the compiler tries; and as long as the threads have columns, with zeros at
// its end.

template <typename T>
struct alignas(sizeof(T) < 4 ? 8 : 16) Pack {
    static constexpr int width = sizeof(T) < 4 ? 4 : 16 / sizeof(T);  // a thread has four columns at least
    T x[width];
};

// The rows of a group, which share a barrier: as many as registers and the memory of a stream allow.
template <typename T, typename E, int COLS>
struct Rows {
    static constexpr int budget = (sizeof(T) + sizeof(E) <= 8 ? 16 : 8) / COLS;
    static constexpr int count = budget > 4 ? 4 : budget > 1 ? budget : 1;
};

template <typename T>
DEVICE i64 column_of(int k) {
    constexpr int width = Pack<T>::width;
    return ((i64)(k / width) * blockDim.x + threadIdx.x) * width + k % width;
}

// This thread's columns of a row; `beyond` where the row has ended.
template <typename T, int COLS>
DEVICE void load_row(const T* row, i64 m, bool aligned, value_of<T> beyond, value_of<T> (&c)[COLS]) {
    constexpr int width = Pack<T>::width;
    static_assert(COLS % width == 0, "columns come in groups");
#pragma unroll
    for (int g = 0; g < COLS; g += width) {
        const i64 j = column_of<T>(g);
        if (aligned && j < m) {
            const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(row + j);
#pragma unroll
            for (int e = 0; e < width; e++) c[g + e] = pack.x[e];
        } else {
#pragma unroll
            for (int e = 0; e < width; e++) c[g + e] = j + e < m ? (value_of<T>)row[j + e] : beyond;
        }
    }
}

template <typename T>
DEVICE bool rows_aligned(const T* matrix, i64 m) {
    return m % Pack<T>::width == 0 && reinterpret_cast<unsigned long long>(matrix) % alignof(Pack<T>) == 0;
}

template <typename T, int COLS>
DEVICE void store_columns(const double (&x)[COLS], i64 m, double* out) {
#pragma unroll
    for (int k = 0; k < COLS; k++) {
        const i64 j = column_of<T>(k);
        if (j < m) out[j] = x[k];
    }
}

// What a block has of the matrix: rows first .. last - 1, and `width` columns from `begin` on. Where a row is too wide for
// the registers of a block, blocks that follow each other share it: each has one of its `slices`.
struct Share {
    i64 first, last, begin, width;
    int slices, slice, band;

    DEVICE Share(i64 n, i64 m, i64 most) {
        slices = (int)((m + most - 1) / most);
        slice = blockIdx.x % slices;
        band = blockIdx.x / slices;
        const int bands = gridDim.x / slices;
        first = band * n / bands;
        last = (band + 1) * n / bands;
        begin = slice * most;
        width = m - begin < most ? m - begin : most;
    }
};

// Numbers that the blocks of a row send each other, three kinds of them, each in memory of its own that says UNSENT
// before. A block waits only for blocks of its own row, which follow each other in the grid: as blocks start in order, all
// but the last rows' are there together, and those who wait for one that is not yet there do so while others end.
struct Slices {
    double* sent;  // (kinds, n, slices), or 0 if there is but one
    i64 n;
    int slices, slice;

    static constexpr i64 UNSENT = -1;  // as bits a nan that no sum is

    // The combination over all slices, in their order; called by all lanes of a warp with the same x.
    template <typename Op>
    DEVICE double over(int kind, i64 i, double x) const {
        if (!sent) return x;
        double* row = sent + (kind * n + i) * slices;
        const int lane = threadIdx.x % 32;
        if (lane == 0) *(volatile double*)(row + slice) = x == x ? x : infinity();
        x = Op::neutral();
        for (int s = lane; s < slices; s += 32) {
            i64 bits;
            while ((bits = *(volatile i64*)(row + s)) == UNSENT) WAITING;
            x = Op::of(x, __longlong_as_double(bits));
        }
        return over_warp<Op>(x);
    }
};

// Before the blocks of a sweep send anything.
__global__ void unsend(i64 size, double* sent, const int* state) {
    if (state[0]) return;
    for (i64 k = blockIdx.x * (i64)blockDim.x + threadIdx.x; k < size; k += (i64)gridDim.x * blockDim.x)
        sent[k] = __longlong_as_double(Slices::UNSENT);
}

// This thread's columns of groups of ROWS rows, read ahead into shared memory: while one group is worked on, the next two
// are on their way. A thread reads what it has copied itself, so that no barrier is needed.
template <typename T, int COLS, int ROWS>
struct Stream {
    static constexpr int STAGES = 3, GROUPS = COLS / Pack<T>::width;
    const Share& share;
    const T* columns;
    i64 m;
    bool aligned;
    Pack<T>* memory;

    // `beyond` stands where the slice has ended, and is never written over.
    DEVICE Stream(const Share& share_, const T* matrix, i64 m_, T beyond, double* pool)
        : share(share_), columns(matrix + share_.begin), m(m_), aligned(rows_aligned(matrix, m_)),
          memory(reinterpret_cast<Pack<T>*>(pool)) {
        constexpr int width = Pack<T>::width;
        for (int stage = 0; stage < STAGES; stage++) {
            for (int q = 0; q < ROWS; q++)
                for (int k = 0; k < COLS; k++)
                    if (column_of<T>(k) >= share.width) place(stage, q, k / width)->x[k % width] = beyond;
            read(stage);
        }
    }

    DEVICE i64 groups() const { return (share.last - share.first + ROWS - 1) / ROWS; }

    // A spare row of the last group is read again.
    DEVICE i64 row(i64 group, int q) const {
        const i64 i = share.first + group * ROWS + q;
        return i < share.last ? i : share.last - 1;
    }

    DEVICE Pack<T>* place(i64 group, int q, int g) const {
        return memory + (((int)(group % STAGES) * ROWS + q) * GROUPS + g) * blockDim.x + threadIdx.x;
    }

    DEVICE void read(i64 group) const {
        constexpr int width = Pack<T>::width;
        for (int q = 0; q < ROWS && group < groups(); q++) {
            const T* from = columns + row(group, q) * m;
#pragma unroll
            for (int g = 0; g < GROUPS; g++) {
                const i64 j = column_of<T>(g * width);
                Pack<T>* to = place(group, q, g);
                if (aligned) {
                    if (j < share.width) COPY(to, from + j, sizeof(Pack<T>));
                } else {
#pragma unroll
                    for (int e = 0; e < width; e++)
                        if (j + e < share.width) copy_one(to->x + e, from + j + e);
                }
            }
        }
        COPIES_END();
    }

    static DEVICE void copy_one(T* to, const T* from) {
        if constexpr (sizeof(T) < 4)
            *to = *from;  // copies that are not waited for have 4 bytes at least
        else
            COPY(to, from, sizeof(T));
    }

    DEVICE void wait() const { COPIES_WAIT(STAGES - 1); }

    // Columns g * width .. of a row of a group that has been waited for.
    DEVICE void take(i64 group, int q, int g, value_of<T> (&c)[Pack<T>::width]) const {
        const Pack<T> pack = *place(group, q, g);
#pragma unroll
        for (int e = 0; e < Pack<T>::width; e++) c[e] = pack.x[e];
    }
};

// Sums of the rows of a group over the warps of a block: `give` before a barrier, `sum` behind it, by a whole warp. Two
// groups are under way at once: one is summed while the columns of the one before it are.
template <int ROWS>
struct RowSums {
    double (*slots)[ROWS][32];

    DEVICE void give(int half, const double (&partial)[ROWS]) const {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int q = 0; q < ROWS; q++) {
            const double sum = over_warp<Sum>(partial[q]);
            if (lane == 0) slots[half][q][warp] = sum;
        }
    }

    // Row q of a group is summed and updated by one warp, every time by another one, while the others go on.
    static DEVICE bool mine(i64 group, int q) {
        return (group * ROWS + q) % (blockDim.x / 32) == threadIdx.x / 32;
    }

    DEVICE double sum(int half, int q) const {
        const int lane = threadIdx.x % 32;
        return over_warp<Sum>(lane < (int)blockDim.x / 32 ? slots[half][q][lane] : 0.0);
    }
};

// Column sums in registers. In float some rows are added up before they go to the double sum, because conversions are
// slow.
template <typename E, int COLS>
struct Columns {
    double total[COLS] = {};
    DEVICE void add(double factor, const E (&p)[COLS]) {
#pragma unroll
        for (int k = 0; k < COLS; k++) total[k] += factor * p[k];
    }
    DEVICE void settle() {}
};
template <int COLS>
struct Columns<float, COLS> {
    double total[COLS] = {};
    float some[COLS] = {};
    DEVICE void add(double factor, const float (&p)[COLS]) {
        const float x = (float)factor;
#pragma unroll
        for (int k = 0; k < COLS; k++) some[k] += x * p[k];
    }
    DEVICE void settle() {
#pragma unroll
        for (int k = 0; k < COLS; k++) {
            total[k] += some[k];
            some[k] = 0.0f;
        }
    }
};

// The rows of a stream, group by group. `take` reads one and gives its sums away; behind the only barrier `finish` is
// called for each row by all lanes of the warp that sums it; and `add` adds the group before to the columns. What a group
// has to wait for, its sums, other blocks and its update, is so waited for by one warp, while the others add up the group
// before and take the next one. Two groups are in registers, `half` says which.
template <int ROWS, typename Stream_, typename Take, typename Finish, typename Add>
DEVICE void in_groups(const Stream_& stream, const RowSums<ROWS>& row_sums, Take take, Finish finish, Add add) {
    const i64 groups = stream.groups();
    for (i64 both = 0; both <= groups; both += 2) {
#pragma unroll
        for (int half = 0; half < 2; half++) {  // known to the compiler, so that arrays stay in registers
            const i64 group = both + half;
            if (group > groups) break;
            if (group < groups) {
                double partial[ROWS] = {};
                stream.wait();
                take(group, half, partial);
                row_sums.give(half, partial);
                stream.read(group + Stream_::STAGES);
            }
            __syncthreads();
#pragma unroll
            for (int q = 0; q < ROWS && group < groups; q++)
                if (RowSums<ROWS>::mine(group, q)) finish(half, q, stream.share.first + group * ROWS + q);
            if (group > 0) add(group - 1, 1 - half);
        }
    }
}

// What becomes of a row whose sum has the logarithm log_sum; returns the factor from p, built with the potential
// `base`, to the row under the new potential.
DEVICE double update_row(const Side& rows, i64 i, double omega, double log_sum, double base, double old, double* alpha,
                         double* log_row) {
    const double moved = old + change(rows, i, omega, old, log_sum);
    log_row[i] = log_sum;
    alpha[i] = moved;
    return exp(moved - base);
}

// Sums are trusted in (tiny, huge), those of rows also only from `low` of their weight on (cpu.scratch says why).
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

// --- between the sweeps ----------------------------------------------------------------------------------------------

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

// --- conjugate gradients ---------------------------------------------------------------------------------------------

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

// --- passes over the plan --------------------------------------------------------------------------------------------
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

// --- cells of a support ----------------------------------------------------------------------------------------------
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

// --- many problems ---------------------------------------------------------------------------------------------------
// A block a problem, from its first iteration to its last. Each stabilises like batch.py: K = exp(base + beta - cost) is
// made at some potentials and multiplied by scalings u and v until these have grown too far, or a sum is unsound; where
// that helps nothing, an iteration is done in the log domain, with sums relative to their largest terms. K and
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

// --- many problems, a tile of K a thread -----------------------------------------------------------------------------
// Most problems need one K and nothing else: a sweep is then a product with K, a division for each row, and a product
// with K^T. Here K stays where it is computed with from the first iteration to the last: a thread has R rows and C
// columns of it in registers, its first S rows in shared memory, which is read once an iteration. L lanes share R rows;
// H such sets of lanes in each of W warps have a problem of up to H W R rows and L C columns. Without warps to share
// (W = 1) a block has several problems, and there is no barrier; a lane with a problem of its own asks nobody.
//
// K is made relative to the largest entry of each row, scalings and sums are floats: sums of up to 16 terms, then trees.
// That is good as long as no scaling exceeds REACH: K ends at 2^-126, so cells with less than 1e-14 of the mass are all
// that is lost, and sums lie between 1e-33 and 1e15. Whoever finds more, or a sum of nothing but LEAST_SUM, writes nothing but
// done = -1, and the problem is for batch_solve.

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

template <typename T, int L, int H, int W, int R, int C, int S, bool LEAN>
__global__ void __launch_bounds__(W > 1 ? 32 * W : 128)
    batch_tiles(const T* costs, const i64* cost_of, const double* inv_epsilons, const i64* row_count,
                const i64* col_count, i64 most_rows, i64 most_cols, const double* row_weight, const double* row_log_weight,
                const double* row_offset, const i64* row_code, const double* row_strength, const double* row_strength2,
                const double* col_weight, const double* col_log_weight, const double* col_offset, const i64* col_code,
                const double* col_strength, const double* col_strength2, double row_omega, double col_omega,
                double* alphas, double* betas, const i64* which, i64 size, const double* goal, i64 count, int end_cols,
                int cold, const double* masses, float* plans, i64* done, double* residual) {
    SHARED_POOL;
    const int N = most_rows, M = most_cols;  // a tile is small
    using tile = Tile<L, H, W, R, C, S>;
    constexpr int SHARED = 2, OURS = 4;  // rows at a time, in shared memory and in registers
    using shared_rows = Dealt<L, SHARED>;
    using our_rows = Dealt<L, OURS>;
    constexpr int shared_own = S / SHARED * shared_rows::own, OWN = shared_own + (R - S) / OURS * our_rows::own;
    constexpr int OWN_COLS = tile::own_cols;
    constexpr bool together = W == 1 && !tile::alone;  // problems of a warp go on until the last one is done
    const int lane = threadIdx.x % 32, l = lane % L, h = lane / L % H, warp = W > 1 ? threadIdx.x / 32 : 0;
    const int thread = threadIdx.x % tile::lanes, local = threadIdx.x / tile::lanes;
    const int row0 = (warp * H + h) * R, col0 = thread * OWN_COLS;
    float* const parts = reinterpret_cast<float*>(pool) + local * tile::floats;
    float* const all_v = parts + H * W * tile::stride;
    Pack<float>* const stored =
        reinterpret_cast<Pack<float>*>(reinterpret_cast<float*>(pool) + tile::problems * tile::floats) + threadIdx.x;
    const bool paired = tile::alone && N % 4 == 0 && M % 4 == 0 && rows_aligned(alphas, N) && rows_aligned(betas, M) &&
                        rows_aligned(row_weight, N) && rows_aligned(col_weight, M);
    const float nothing = -__int_as_float(0x7f800000);

    // the row of the e-th scaling that this thread updates
    const auto own_row = [&](int e) {
        const int rest = e - shared_own;
        return row0 + (e < shared_own ? e / shared_rows::own * SHARED + shared_rows::first(l) + e % shared_rows::own
                                      : S + rest / our_rows::own * OURS + our_rows::first(l) + rest % our_rows::own);
    };
    const auto writes_row = [&](int e) { return e < shared_own ? shared_rows::writes(l) : our_rows::writes(l); };
    const auto stored_row = [&](int s, float (&p)[C]) {
#pragma unroll
        for (int g = 0; g < C / 4; g++) {
            const Pack<float> pack = stored[(s * (C / 4) + g) * tile::threads];
#pragma unroll
            for (int e = 0; e < 4; e++) p[4 * g + e] = pack.x[e];
        }
    };
    const auto store_row = [&](int s, const float (&p)[C]) {
#pragma unroll
        for (int g = 0; g < C / 4; g++)
            stored[(s * (C / 4) + g) * tile::threads] = {p[4 * g], p[4 * g + 1], p[4 * g + 2], p[4 * g + 3]};
    };

    // on its way to the L2 cache while the problem before is iterated on
    const auto prefetch = [&](i64 q) {
        const i64 k = listed(which, q, q);
        const char* lines = reinterpret_cast<const char*>(costs + listed(cost_of, k, k) * (N * M));
        for (int at = 128 * threadIdx.x; at < N * M * (int)sizeof(T); at += 128 * tile::threads) PREFETCH(lines + at);
    };
    if (W > 1 && blockIdx.x < size) prefetch(blockIdx.x);

    for (i64 first = (i64)blockIdx.x * tile::problems; first < size; first += (i64)gridDim.x * tile::problems) {
        const i64 q = first + local, k = listed(which, q < size ? q : size - 1, q < size ? q : size - 1);
        const int n = q < size ? listed(row_count, k, N) : 0, m = q < size ? listed(col_count, k, M) : 0;
        const T* cost = costs + listed(cost_of, k, k) * (N * M);
        const double inv2 = inv_epsilons[k] * LOG2E;
        const BatchSide rows(row_weight, row_log_weight, row_offset, row_code, row_strength, row_strength2, k, N,
                             row_omega);
        const BatchSide cols(col_weight, col_log_weight, col_offset, col_code, col_strength, col_strength2, k, M,
                             col_omega);
        const double *beta = betas + k * M, *alpha = alphas + k * N;

        // K, first as costs
        float entry[(R - S) / OURS][OURS][C], base[OWN], worst = 0.0f;
        double x[C];
        float rough[C];
        either(paired && m % 4 == 0, [&](auto packs) {
            load_groups<L, decltype(packs)::value>(beta, m, l, -infinity(), x);
        });
#pragma unroll
        for (int c = 0; c < C; c++) rough[c] = x[c] *= LOG2E;
        if (!tile::alone) store_groups<L, true>(rough, tile::cols, l, all_v);  // to spare registers
        const bool packed = rows_aligned(costs, M) && M % 4 == 0 && m % 4 == 0;
        const auto load_cost = [&](int r, auto packs, value_of<T> (&c)[C]) {
            const bool inside = row0 + r < n;
            load_groups<L, decltype(packs)::value>(inside ? cost + (row0 + r) * M : cost, inside ? m : 0, l,
                                                   (value_of<T>)infinity(), c);
        };
        // rows in registers are on their way while those in shared memory are made, one after the other
        constexpr bool at_once = sizeof(value_of<T>) == 4;
        either(packed, [&](auto packs) {
#pragma unroll
            for (int r = S; r < R && at_once; r++) {
                value_of<T> c[C];
                load_cost(r, packs, c);
#pragma unroll
                for (int e = 0; e < C; e++) entry[(r - S) / OURS][(r - S) % OURS][e] = c[e];
            }
        });
        const float step = inv2;
        const auto made = [&](const value_of<T>(&c)[C], float (&p)[C]) {
            float top = nothing;
            if (!tile::alone) load_groups<L, true>(all_v, tile::cols, l, 0.0f, rough);
#pragma unroll
            for (int e = 0; e < C; e++) top = fmaxf(top, rough[e] - (float)c[e] * step);
#pragma unroll
            for (int distance = L / 2; distance > 0; distance /= 2)
                top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, distance));
            if (top == nothing) top = 0.0f;
#pragma unroll
            for (int e = 0; e < C; e++) p[e] = power(x[e] - top - c[e] * inv2, float());
            return -top;
        };
        either(packed, [&](auto packs) {
#pragma unroll 1
            for (int r = 0; r < S; r++) {
                value_of<T> c[C];
                float p[C];
                load_cost(r, packs, c);
                const float found = made(c, p);
                store_row(r, p);
#pragma unroll
                for (int e = 0; e < shared_own; e++)
                    if (own_row(e) == row0 + r) base[e] = found;
            }
        });
#pragma unroll
        for (int r = S; r < R; r++) {
            value_of<T> c[C];
            float(&p)[C] = entry[(r - S) / OURS][(r - S) % OURS];
            if (!at_once) load_cost(r, No(), c);
#pragma unroll
            for (int e = 0; e < C && at_once; e++) c[e] = p[e];
            const float found = made(c, p);
#pragma unroll
            for (int e = shared_own; e < OWN; e++)
                if (own_row(e) == row0 + r) base[e] = found;
            if (W > 1) __syncwarp();  // one row after the other, else the compiler runs out of registers
        }
        if (!tile::alone) wait_for_problem<W>();  // what was spared has been read
        if (W > 1 && first + gridDim.x < size) prefetch(first + gridDim.x);

        // the scalings that this thread updates; in use where `w` is positive
        float u[OWN], before[OWN], w[OWN];
        float v[C], own_v[OWN_COLS], col_w[OWN_COLS];
        double row_weights[OWN], col_weights[OWN_COLS];
        const int at_col = col0 < M ? col0 : 0;
        if (tile::alone)
            either(paired, [&](auto packs) {
                load_groups<1, decltype(packs)::value>(rows.side.weight, N, 0, 0.0, row_weights);
                load_groups<1, decltype(packs)::value>(cols.side.weight, M, 0, 0.0, col_weights);
            });
        else
            load_groups<1, false>(cols.side.weight + at_col, M - col0, 0, 0.0, col_weights);
#pragma unroll
        for (int e = 0; e < OWN; e++) {
            if (!tile::alone) row_weights[e] = own_row(e) < N ? rows.side.weight[own_row(e)] : 0.0;
            w[e] = own_row(e) < n ? (float)row_weights[e] : 0.0f;
        }
#pragma unroll
        for (int e = 0; e < OWN_COLS; e++) {
            col_w[e] = col0 + e < m ? (float)col_weights[e] : 0.0f;
            own_v[e] = 1.0f;
        }
#pragma unroll
        for (int c = 0; c < C; c++) v[c] = 1.0f;
#pragma unroll
        for (int e = 0; e < OWN; e++) {
            u[e] = before[e] = 0.0f;
            if (LEAN || rows.plain) continue;
            w[e] = own_row(e) < n && rows.side.used(own_row(e)) ? 1.0f : 0.0f;
            if (w[e] > 0.0f) {
                const int i = own_row(e);
                const double guess = cost[i * M] * inv_epsilons[k] - beta[0];
                const double start = cold && fabs(guess) < infinity() ? guess : alpha[i];
                const double moved = start * LOG2E - base[e];
                if (fabs(moved) < 100.0)
                    u[e] = exp2f((float)moved);
                else if (!rows.exact)
                    worst = -nothing;
            }
        }
#pragma unroll
        for (int e = 0; e < OWN; e++)
            if (w[e] > 0.0f && w[e] < LEAST_WEIGHT) worst = -nothing;
#pragma unroll
        for (int e = 0; e < OWN_COLS; e++) {
            if (!LEAN && !cols.plain) col_w[e] = col0 + e < m && cols.side.used(col0 + e) ? 1.0f : 0.0f;
            if (col_w[e] > 0.0f && col_w[e] < LEAST_WEIGHT) worst = -nothing;
        }

        bool live = q < size;
        i64 iteration = 0, ended = count;
        double found = 0.0;
        while (iteration < count) {
            iteration++;
            float total[C], row_error = 0.0f, col_error = 0.0f;
#pragma unroll
            for (int c = 0; c < C; c++) total[c] = LEAST_SUM;
            // some rows: their sums, their update, and what they add to the sums of the columns
            const auto sweep = [&](const auto& p, auto dealt, int own) {
                using deal = decltype(dealt);
                constexpr int Q = sizeof(p) / sizeof(p[0]);
                float sum[Q], factor[Q];
#pragma unroll
                for (int r = 0; r < Q; r++) {
                    float part[4 / Q] = {LEAST_SUM};  // four sums under way, whatever Q is
#pragma unroll
                    for (int c = 0; c < C; c++) part[c % (4 / Q)] += p[r][c] * v[c];
                    sum[r] = part[0];
#pragma unroll
                    for (int e = 1; e < 4 / Q; e++) sum[r] += part[e];
                }
                deal::sum(l, sum);
#pragma unroll
                for (int e = own; e < own + deal::own; e++) {
                    const float s = sum[e - own];
                    float moved = w[e] * reciprocal(s);
                    if (!LEAN) {
                        float change = fabsf(moved - u[e]) * s;
                        if (!rows.plain) {
                            moved = change = 0.0f;
                            if (w[e] > 0.0f) moved = soft_step(rows, own_row(e), base[e] * LN2, u[e], s, change);
                        }
                        row_error += deal::writes(l) ? change : 0.0f;
                        before[e] = live ? u[e] : before[e];
                    }
                    u[e] = LEAN || live ? moved : u[e];
                    worst = fmaxf(worst, u[e]);
                }
                deal::spread(lane, u + own, factor);
#pragma unroll
                for (int r = 0; r < Q; r++)
#pragma unroll
                    for (int c = 0; c < C; c++) total[c] += p[r][c] * factor[r];
            };
#pragma unroll
            for (int s = 0; s < S; s += SHARED) {
                float p[SHARED][C];
#pragma unroll
                for (int r = 0; r < SHARED; r++) stored_row(s + r, p[r]);
                sweep(p, shared_rows(), s / SHARED * shared_rows::own);
            }
#pragma unroll
            for (int g = 0; g < (R - S) / OURS; g++) sweep(entry[g], our_rows(), shared_own + g * our_rows::own);

            // the columns, each by one thread
            float sum[OWN_COLS], moved[OWN_COLS];
            if (tile::alone) {
#pragma unroll
                for (int e = 0; e < OWN_COLS; e++) sum[e] = total[e];
            } else {
                store_groups<L, true>(total, tile::cols, l, parts + (warp * H + h) * tile::stride);
                wait_for_problem<W>();
#pragma unroll
                for (int e = 0; e < OWN_COLS; e++) sum[e] = 0.0f;
#pragma unroll
                for (int part = 0; part < H * W; part++)
#pragma unroll
                    for (int e = 0; e < OWN_COLS; e++) sum[e] += parts[part * tile::stride + col0 + e];
            }
#pragma unroll
            for (int e = 0; e < OWN_COLS; e++) {
                moved[e] = col_w[e] * reciprocal(sum[e]);
                if (LEAN) continue;
                float change = fabsf(moved[e] - own_v[e]) * sum[e];
                if (!cols.plain) {
                    moved[e] = change = 0.0f;
                    if (col_w[e] > 0.0f)
                        moved[e] = soft_step(cols, col0 + e, beta[col0 + e], own_v[e], sum[e], change);
                }
                col_error += change;
            }
            if (!LEAN && goal && iteration > 1) {
                const float error = end_cols ? row_error : col_error;
                const double all = over_problem<tile::lanes, W>(worst < REACH ? error : -nothing);
                if (live) found = all;
                if (live && (all <= goal[k] || all == infinity())) {
                    live = false;
                    ended = iteration;
#pragma unroll
                    for (int e = 0; e < OWN; e++) u[e] = end_cols ? before[e] : u[e];
                }
                if (together ? __ballot_sync(ALL_LANES, live) == 0 : !live) break;
            }
            if (goal || end_cols || iteration < count) {
#pragma unroll
                for (int e = 0; e < OWN_COLS; e++) {
                    own_v[e] = LEAN || live ? moved[e] : own_v[e];
                    worst = fmaxf(worst, own_v[e]);
                }
            }
            if (tile::alone) {
#pragma unroll
                for (int c = 0; c < C; c++) v[c] = own_v[c];
            } else {
#pragma unroll
                for (int e = 0; e < OWN_COLS; e++) all_v[col0 + e] = own_v[e];
                wait_for_problem<W>();
                load_groups<L, true>(all_v, tile::cols, l, 0.0f, v);
            }
        }

        bool sound = worst < REACH;
#pragma unroll
        for (int e = 0; e < OWN; e++) sound = sound && (u[e] > 1e-30f || w[e] == 0.0f);
#pragma unroll
        for (int e = 0; e < OWN_COLS; e++) sound = sound && (own_v[e] > 1e-30f || col_w[e] == 0.0f);
        sound = over_problem<tile::lanes, W>(sound ? 0.0 : 1.0) == 0.0;
        if (q < size && thread == 0) {
            done[q] = sound ? ended : -1;
            if (sound && goal && ended > 1) residual[q] = found;
        }
        double log_u[OWN], log_v[OWN_COLS];
#pragma unroll
        for (int e = 0; e < OWN; e++) log_u[e] = u[e] > 0.0f ? (base[e] + log2_of(u[e])) * LN2 : -infinity();
#pragma unroll
        for (int e = 0; e < OWN_COLS; e++)
            log_v[e] = own_v[e] > 0.0f && col0 + e < m ? beta[col0 + e] + log2_of(own_v[e]) * LN2 : -infinity();
        if (sound && tile::alone)
            either(paired && n % 4 == 0 && m % 4 == 0, [&](auto packs) {
                store_groups<1, decltype(packs)::value>(log_u, n, 0, alphas + k * N);
                store_groups<1, decltype(packs)::value>(log_v, m, 0, betas + k * M);
            });
        else if (sound) {
#pragma unroll
            for (int e = 0; e < OWN; e++)
                if (writes_row(e) && own_row(e) < n) alphas[k * N + own_row(e)] = log_u[e];
            store_groups<1, false>(log_v, m - col0, 0, betas + k * M + col0);
        }
        if (plans) {  // u K v, row by row
            const float mass = masses[k];
            float* const plan = plans + k * (N * M);
            either(rows_aligned(plans, M) && M % 4 == 0, [&](auto packs) {
                const auto fill = [&](const auto& p, auto dealt, int own, int r0) {
                    constexpr int Q = sizeof(p) / sizeof(p[0]);
                    float factor[Q];
                    decltype(dealt)::spread(lane, u + own, factor);
#pragma unroll
                    for (int r = 0; r < Q; r++) {
                        const int i = row0 + r0 + r;
                        float cells[C];
#pragma unroll
                        for (int c = 0; c < C; c++) cells[c] = mass * factor[r] * p[r][c] * v[c];
                        store_groups<L, decltype(packs)::value>(cells, sound && q < size && i < N ? M : 0, l,
                                                                plan + i * M);
                    }
                };
#pragma unroll
                for (int s = 0; s < S; s += SHARED) {
                    float p[SHARED][C];
#pragma unroll
                    for (int r = 0; r < SHARED; r++) stored_row(s + r, p[r]);
                    fill(p, shared_rows(), s / SHARED * shared_rows::own, s);
                }
#pragma unroll
                for (int g = 0; g < (R - S) / OURS; g++)
                    fill(entry[g], our_rows(), shared_own + g * our_rows::own, S + g * OURS);
            });
        }
    }
}
