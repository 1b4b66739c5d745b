// CUDA's execution model on the host, enough of it for the kernels: blocks one after the other, a fibre for each thread
// of a block, switched at every barrier and warp collective. Everything is deterministic; the order in which threads
// run between two barriers can be chosen, so that a kernel whose result depends on it is found out. A barrier that some
// threads never reach is an error, not a hang.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __noinline__ __attribute__((noinline))
#define __shared__ static thread_local
#define ON_HOST
#define SHARED_POOL double* pool = shim::pool.data()
#define HALF_TO_FLOAT(x, bits) x = shim::widened(bits)
#define POWER_OF_TWO(x, y) x = std::exp2(y)
#define RECIPROCAL(y, x) y = 1.0f / (x)
#define PREFETCH(address) (void)*(address)
#define WAITING shim::wait_for_others()

struct Dimension {
    unsigned int x, y, z;
};
// A block runs in one thread of the host.
static thread_local Dimension threadIdx, blockIdx, blockDim, gridDim;

using std::exp;
using std::exp2;
using std::log;

// Copies are made when they are waited for, so that what is read too early is not there yet.
namespace shim {

struct Copies {
    struct One {
        char *to;
        const char *from;
        int bytes;
    };
    std::vector<One> under_way;
    std::vector<std::size_t> ends;  // of groups, as far as they have ended

    void copy(void* to, const void* from, int bytes) {
        under_way.push_back({static_cast<char*>(to), static_cast<const char*>(from), bytes});
    }
    void end() { ends.push_back(under_way.size()); }
    void wait(std::size_t pending) {
        if (ends.size() <= pending) return;
        const std::size_t groups = ends.size() - pending, done = ends[groups - 1];
        for (std::size_t k = 0; k < done; k++) std::memcpy(under_way[k].to, under_way[k].from, under_way[k].bytes);
        under_way.erase(under_way.begin(), under_way.begin() + done);
        ends.erase(ends.begin(), ends.begin() + groups);
        for (std::size_t& end : ends) end -= done;
    }
    void forget() {
        under_way.clear();
        ends.clear();
    }
};

}  // namespace shim

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
    std::unique_ptr<char[]> stack;
    State state = DONE;
    bool entered = false;
    int collectives;
    Copies copies;
    unsigned long long sent[2];  // the next collective may begin before all lanes have read the last one
};

static thread_local std::unique_ptr<Fibre[]> fibres;
static thread_local std::vector<double> pool;
static thread_local jmp_buf scheduler;
static bool corners = false;  // of every grid only the first and the last block in either direction
static thread_local int current;
static thread_local void (*body)(void*);
static thread_local void* argument;

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

static void resume(Fibre& fibre) {
    if (!_setjmp(scheduler)) _longjmp(fibre.place, 1);
}

static void begin(Fibre& fibre) {
    fibre.stack.reset(new char[STACK]);
    getcontext(&fibre.context);
    fibre.context.uc_stack.ss_sp = fibre.stack.get();
    fibre.context.uc_stack.ss_size = STACK;
    fibre.context.uc_link = nullptr;
    makecontext(&fibre.context, live, 0);
    fibre.entered = true;
    if (!_setjmp(scheduler)) setcontext(&fibre.context);
}

// Lanes order[first .. first + 31] to their next barrier or collective; false if none could move.
static bool run_warp(const std::vector<int>& order, int first) {
    bool moved = false, together = true;
    for (int k = first; k < first + 32; k++) {
        const int t = order[k];
        if (fibres[t].state != READY) continue;
        moved = true;
        current = t;
        threadIdx.x = t;
        if (fibres[t].entered)
            resume(fibres[t]);
        else
            begin(fibres[t]);
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
        fibres[t].copies.forget();
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

// A grid, the blocks of which begin in order: one after the other in the calling thread, or in a thread of its own where
// the ones that run wait for a block that has not begun.
struct Grid {
    unsigned int x, y, threads;
    long long shared;
    std::vector<int> turns;
    void (*body)(void*);
    void* argument;
    std::atomic<unsigned int> next{0};
    std::atomic<int> failed{0};
    std::mutex guard;
    std::vector<std::thread> helpers;

    bool counts(unsigned int bx, unsigned int by) const {
        return !corners || ((bx == 0 || bx == x - 1) && (by == 0 || by == y - 1));
    }

    bool one_more();

    void help() {
        const std::lock_guard<std::mutex> lock(guard);
        if (next < x * y) helpers.emplace_back([this] { one_more(); });
    }
};
static thread_local Grid* grid;

bool Grid::one_more() {
    if (corners && x > 2 && next > 0 && next % x > 0 && next % x < x - 1) next += x - 1 - next % x;  // of vast grids
    const unsigned int block = next++;
    if (block >= x * y) return false;
    if (!counts(block % x, block / x)) return true;
    if (!fibres) fibres.reset(new Fibre[MOST_THREADS]);
    grid = this;
    shim::body = body;
    shim::argument = argument;
    blockDim = {threads, 1, 1};
    gridDim = {x, y, 1};
    blockIdx = {block % x, block / x, 0};
    pool.assign(shared / 8 + 1, std::nan(""));
    if (run_block(threads, turns)) {
        failed = 1;
        fibres.reset();  // abandoned in the middle of a kernel
        return false;
    }
    return true;
}

// What a thread does that waits for another block: it lets others run, of its own block first.
static void wait_for_others() {
    static thread_local int waited = 0;
    if (++waited % 64 == 0) {
        grid->help();
        std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    if (waited > 100000000) std::abort();  // it will never come
    pause(READY);
}

template <typename... A, std::size_t... I>
int launch_with(void (*kernel)(A...), unsigned int x, unsigned int y, unsigned int threads, long long shared, int order,
                void** args, std::index_sequence<I...>) {
    if (threads % 32 || threads > MOST_THREADS) return 2;
    struct Call {
        void (*kernel)(A...);
        void** args;
    } call = {kernel, args};
    Grid blocks;
    blocks.x = x;
    blocks.y = y;
    blocks.threads = threads;
    blocks.shared = shared;
    blocks.body = [](void* c) {
        Call* call = static_cast<Call*>(c);
        call->kernel(*static_cast<std::remove_const_t<A>*>(call->args[I])...);
    };
    blocks.argument = &call;
    blocks.turns.resize(threads);  // warps and their lanes, permuted alike
    const std::vector<int> warps = permutation(threads / 32, order), lanes = permutation(32, order);
    for (unsigned int t = 0; t < threads; t++) blocks.turns[t] = 32 * warps[t / 32] + lanes[t % 32];
    while (blocks.one_more()) {
    }
    blocks.guard.lock();  // all blocks have begun: no helper comes after the one that is being called now
    blocks.guard.unlock();
    for (std::thread& helper : blocks.helpers) helper.join();
    return blocks.failed;
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
    static thread_local unsigned long long received[32];
    const int first = current / 32 * 32;
    for (int lane = 0; lane < 32; lane++) received[lane] = fibres[first + lane].sent[slot];
    return received;
}

}  // namespace shim

#define COPY(to, from, bytes) shim::fibres[shim::current].copies.copy(to, from, bytes)
#define COPIES_END() shim::fibres[shim::current].copies.end()
#define COPIES_WAIT(pending) shim::fibres[shim::current].copies.wait(pending)

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

static inline int __double2loint(double x) {
    int words[2];
    std::memcpy(words, &x, 8);
    return words[0];
}

static inline int __double2hiint(double x) {
    int words[2];
    std::memcpy(words, &x, 8);
    return words[1];
}

static inline double __longlong_as_double(long long bits) {
    double x;
    std::memcpy(&x, &bits, 8);
    return x;
}
