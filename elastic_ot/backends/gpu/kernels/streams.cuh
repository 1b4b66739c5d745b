// How rows come from memory, and how blocks that share a row wait for each other.
//
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
