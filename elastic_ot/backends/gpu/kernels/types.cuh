// What every kernel is made of: what the host build has of its own, types of entries, what is known of iterations.
//
// Conventions. Matrices are stored by rows, n x m, and indexed in 64 bits. Potentials arrive in units of epsilon; where
// a name ends in 2 they are multiplied by log2(e), so that exponentials are powers of two. T is the type of the cost, V
// that of its entries once loaded, E that of the exponentials; arguments, sums and vectors are double whatever these
// are. Blocks have a multiple of 32 threads. Every sum is taken in an order that depends on the launch alone, never on
// timing: there is no atomic.
//
// Iterations of a block are launched one after the other, or replayed as a graph, without asking how they went. One that
// finds that the block must end there says so in `Flags`: the kernels after it return at once, and the host looks after
// the last one.

typedef long long i64;

#define DEVICE __device__ __forceinline__

// What the host build (tests/helpers/gpu_shim) has functions of its own for.
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
