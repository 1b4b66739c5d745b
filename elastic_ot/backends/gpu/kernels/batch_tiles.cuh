// Many problems, a tile of K a thread (tiles.cuh): all iterations in one launch.

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
