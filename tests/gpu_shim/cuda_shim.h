// CUDA's execution model on the host, enough of it for kernels.cu: blocks one after the other, a fibre for each thread
// of a block, switched at every barrier and warp collective. Everything is deterministic; the order in which threads
// run between two barriers can be chosen, so that a kernel whose result depends on it is found out. A barrier that some
// threads never reach is an error, not a hang.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __noinline__ __attribute__((noinline))
#define __shared__ static
#define SHARED_POOL double* pool = shim::pool.data()
#define HALF_TO_FLOAT(x, bits) x = shim::widened(bits)
#define RECIPROCAL(y, x) y = 1.0f / (x)
#define PREFETCH(address) (void)*(address)

struct Dimension {
    unsigned int x, y, z;
};
static Dimension threadIdx, blockIdx, blockDim, gridDim;

using std::exp;
using std::exp2;
using std::log;

namespace shim {

static inline float widened(unsigned short bits) {
    _Float16 x;
    std::memcpy(&x, &bits, 2);
    return x;
}

constexpr int MOST_THREADS = 512, STACK = 1 << 16;
enum State { READY, AT_BLOCK, AT_WARP, DONE };

struct Fibre {
    ucontext_t context;
    jmp_buf place;
    std::vector<char> stack;
    State state;
    int collectives;
    unsigned long long sent[2];  // the next collective may begin before all lanes have read the last one
};

static std::vector<Fibre> fibres;
static std::vector<double> pool;
static jmp_buf scheduler;
static bool corners = false;  // of every grid only the first and the last block in either direction
static int current;
static void (*body)(void*);
static void* argument;

static void pause(State state) {
    Fibre& fibre = fibres[current];
    fibre.state = state;
    if (!_setjmp(fibre.place)) _longjmp(scheduler, 1);
}

static void live() {  // a fibre serves one thread after the other
    for (;;) {
        body(argument);
        pause(DONE);
    }
}

static void resume(int t) {
    current = t;
    threadIdx.x = t;
    if (!_setjmp(scheduler)) _longjmp(fibres[t].place, 1);
}

static void create() {
    fibres = std::vector<Fibre>(MOST_THREADS);
    for (int t = 0; t < MOST_THREADS; t++) {
        Fibre& fibre = fibres[t];
        fibre.stack.resize(STACK);
        getcontext(&fibre.context);
        fibre.context.uc_stack.ss_sp = fibre.stack.data();
        fibre.context.uc_stack.ss_size = STACK;
        fibre.context.uc_link = nullptr;
        makecontext(&fibre.context, live, 0);
        fibre.state = DONE;
    }
}

static std::vector<bool> entered;

// Lanes order[first .. first + 31] to their next barrier or collective; false if none could move.
static bool run_warp(const std::vector<int>& order, int first) {
    bool moved = false, together = true;
    for (int k = first; k < first + 32; k++) {
        const int t = order[k];
        if (fibres[t].state != READY) continue;
        moved = true;
        if (entered[t]) {
            resume(t);
        } else {
            entered[t] = true;
            current = t;
            threadIdx.x = t;
            if (!_setjmp(scheduler)) setcontext(&fibres[t].context);
        }
    }
    for (int k = first; k < first + 32; k++)
        together = together && fibres[order[k]].state == AT_WARP &&
                   fibres[order[k]].collectives == fibres[order[first]].collectives;
    for (int k = first; together && k < first + 32; k++) fibres[order[k]].state = READY;
    return moved;
}

// 0, or 1 if threads wait for each other at different places.
static int run_block(int threads, const std::vector<int>& order) {
    for (int t = 0; t < threads; t++) {
        fibres[t].state = READY;
        fibres[t].collectives = 0;
    }
    // One warp after the other, each as far as it gets: what runs ahead of the others shows where a barrier is missing.
    for (;;) {
        bool moved = false;
        for (int first = 0; first < threads; first += 32)
            while (run_warp(order, first)) moved = true;
        int done = 0, waiting = 0;
        for (int t = 0; t < threads; t++) {
            done += fibres[t].state == DONE;
            waiting += fibres[t].state == AT_BLOCK;
        }
        if (done == threads) return 0;
        if (waiting + done == threads) {
            for (int t = 0; t < threads; t++)
                if (fibres[t].state == AT_BLOCK) fibres[t].state = READY;
        } else if (!moved) {
            return 1;
        }
    }
}

// order: 0 forwards, 1 backwards, otherwise shuffled (Fisher and Yates) by a linear congruence from this seed.
static std::vector<int> permutation(int size, int order) {
    std::vector<int> turns(size);
    for (int t = 0; t < size; t++) turns[t] = order == 1 ? size - 1 - t : t;
    unsigned int seed = order;
    for (int t = size - 1; order > 1 && t > 0; t--) {
        seed = seed * 1664525u + 1013904223u;
        std::swap(turns[t], turns[(seed >> 8) % (t + 1)]);
    }
    return turns;
}

template <typename... A, std::size_t... I>
int launch_with(void (*kernel)(A...), unsigned int x, unsigned int y, unsigned int threads, long long shared, int order,
                void** args, std::index_sequence<I...>) {
    if (threads % 32 || threads > MOST_THREADS) return 2;
    struct Call {
        void (*kernel)(A...);
        void** args;
    } call = {kernel, args};
    if (fibres.empty()) {
        create();
        entered.assign(MOST_THREADS, false);
    }
    body = [](void* c) {
        Call* call = static_cast<Call*>(c);
        call->kernel(*static_cast<std::remove_const_t<A>*>(call->args[I])...);
    };
    argument = &call;
    blockDim = {threads, 1, 1};
    gridDim = {x, y, 1};
    std::vector<int> turns(threads);  // warps and their lanes, permuted alike
    const std::vector<int> warps = permutation(threads / 32, order), lanes = permutation(32, order);
    for (unsigned int t = 0; t < threads; t++) turns[t] = 32 * warps[t / 32] + lanes[t % 32];
    for (unsigned int by = 0; by < y; by++)
        for (unsigned int bx = 0; bx < x; bx++) {
            if (corners && ((bx > 0 && bx < x - 1) || (by > 0 && by < y - 1))) {
                bx = bx > 0 && bx < x - 1 ? x - 2 : bx;
                continue;
            }
            blockIdx = {bx, by, 0};
            pool.assign(shared / 8 + 1, std::nan(""));
            if (run_block(threads, turns)) {
                fibres.clear();  // abandoned in the middle of a kernel
                return 1;
            }
        }
    return 0;
}

template <typename... A>
int launch(void (*kernel)(A...), unsigned int x, unsigned int y, unsigned int threads, long long shared, int order,
           void** args) {
    return launch_with(kernel, x, y, threads, shared, order, args, std::index_sequence_for<A...>());
}

// What all lanes of the warp send, once all have sent it.
static unsigned long long* exchange(unsigned long long bits) {
    Fibre& fibre = fibres[current];
    const int slot = fibre.collectives++ % 2;
    fibre.sent[slot] = bits;
    pause(AT_WARP);
    static unsigned long long received[32];
    const int first = current / 32 * 32;
    for (int lane = 0; lane < 32; lane++) received[lane] = fibres[first + lane].sent[slot];
    return received;
}

}  // namespace shim

static inline void __syncthreads() { shim::pause(shim::AT_BLOCK); }

template <typename T>
static inline T __shfl_xor_sync(unsigned int, T x, int mask) {
    unsigned long long bits = 0;
    std::memcpy(&bits, &x, sizeof(T));
    bits = shim::exchange(bits)[shim::current % 32 ^ mask];
    std::memcpy(&x, &bits, sizeof(T));
    return x;
}

template <typename T>
static inline T __shfl_sync(unsigned int, T x, int lane) {
    unsigned long long bits = 0;
    std::memcpy(&bits, &x, sizeof(T));
    bits = shim::exchange(bits)[lane % 32];
    std::memcpy(&x, &bits, sizeof(T));
    return x;
}

static inline void __syncwarp() { shim::exchange(0); }

static inline unsigned int __ballot_sync(unsigned int, bool vote) {
    const unsigned long long* votes = shim::exchange(vote);
    unsigned int result = 0;
    for (int lane = 0; lane < 32; lane++) result |= (votes[lane] ? 1u : 0u) << lane;
    return result;
}

static inline int __popc(unsigned int x) { return __builtin_popcount(x); }

static inline float __int_as_float(int bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

static inline int __float_as_int(float x) {
    int bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}

static inline double __longlong_as_double(long long bits) {
    double x;
    std::memcpy(&x, &bits, 8);
    return x;
}
