// Powers of two in the precision asked for, and sums and maxima over a warp or a block.

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

// 2^y, exactly 0 where the result would not be a normal number: what cpu/dense.py stores in plans.
DEVICE double plan_entry(double y) { return y > -1021.0 ? exp2(y) : 0.0; }

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
