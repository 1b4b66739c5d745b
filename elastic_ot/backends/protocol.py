"""Every primitive's formula, once: what a backend must provide, and with which arguments.

Units. Mass is measured in units of the problem's mass and potentials in units of epsilon, so that kernels see numbers
of order one. With `alpha = f / epsilon + rows.offset` and `beta = g / epsilon + cols.offset` every plan is

    P_ij = exp(alpha_i + beta_j - cost_ij * inv_epsilon),        exactly 0 where an argument is -inf.

`cost` is C-contiguous float32 or float64 and may hold +inf; vectors are float64. A removed row has alpha = -inf.
Primitives write into arrays the caller owns and return nothing, except where said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

Array = Any
BOUNDED_METRICS = "sqeuclidean", "euclidean", "cityblock"
"""Those whose plans are bounded over boxes of points, see `CloudBackend.prune`."""
Metric = Literal["sqeuclidean", "euclidean", "cityblock", "cosine", "dot"]

LOGARITHMIC, CLIPPED, BOXED, QUADRATIC = 0, 1, 2, 3
"""Codes of the update rules (see `Backend.potential`)."""
LOG2E = 1.4426950408889634
TRUST_SINGLE, TRUST_DOUBLE = (1e-4, 1e-28, 1e30), (1e-20, 1e-250, 1e250)
"""(low, tiny, huge): sums of a sweep are trusted in (tiny, huge), those of a row from `low` of its weight on."""
SINGLE_LIMIT, LIMIT = 1e14, 1e100
"""Of diagonals and sums in replayed iterations: times each other and what has underflown in K they are nothing."""
FLOOR = 1e-3
"""Share of its diagonal that the preconditioner of Newton's matrix S keeps at least."""
PRODUCTS, ROUNDS = 500, 3
"""With S, for a derivative, and rounds of conjugate gradients that they are made in."""
ROUNDING, SOUND, UNSOUND = 1e-15, 1e-12, 1e-8
"""Residuals of that system over its right-hand side: aimed at, accepted, and not accepted however large y is."""


class Side(NamedTuple):
    """One marginal as kernels see it; `weight` sums to about one, removed entries have log_weight = -inf."""

    weight: Array
    log_weight: Array
    offset: Array
    code: Any
    strength: Any
    strength2: Any


class Vectors(NamedTuple):
    """What an iteration changes, in the units of the kernels: see `Backend.log_sweeps`."""

    alpha: Array
    beta: Array
    log_row: Array
    log_col: Array
    previous_alpha: Array
    log_col_updated: Array


class Batch(NamedTuple):
    """Many problems on a stack of costs (K, n, m): problem k has the cost `cost_of[k]`, of which it sees a corner.

    `mass` is the unit of mass of each.
    """

    cost_of: Array
    inv_epsilon: Array
    row_count: Array
    col_count: Array
    mass: Array


class BatchBars(NamedTuple):
    """Derivatives of many problems in their inputs: cost (B, n, m), a (B, n), b (B, m), the others and `sound` (B,)."""

    cost: Array
    a: Array
    b: Array
    epsilon: Array
    rows: Array
    cols: Array
    sound: Array


class BatchSystem(NamedTuple):
    """What `batch_pull_back` finds: a change of the plans, its sums, x and y; dot and `sound` (B,)."""

    cost: Array
    rows: Array
    cols: Array
    x: Array
    y: Array
    dot: Array
    sound: Array


class Support(NamedTuple):
    """Some cells of a plan, row by row (CSR): those of row i are pointers[i] : pointers[i + 1].

    `cost` holds their costs in the cost's dtype, `values` their P in float64, which `support_sweeps` keeps up to date;
    0 before the first one. A backend may keep them in another way: only backends look into a support.
    """

    pointers: Array
    indices: Array
    cost: Array
    values: Array


class Sparse(NamedTuple):
    """A matrix by rows (CSR); arrays may be longer than pointers[-1]. Only backends look at more than `pointers`."""

    pointers: Array
    indices: Array
    values: Array


class Krylov(NamedTuple):
    """Vectors of conjugate gradients; the one entry of `scalars` is <residual, preconditioned residual>.

    An entry whose `preconditioner` is 0 is outside the system: its x stays 0 and its residual does not count.
    """

    x: Array
    residual: Array
    direction: Array
    preconditioner: Array
    scalars: Array


CONTINUES, REACHED, LEFT = 0, 1, 2
"""How a block of conjugate gradients ended."""


class Graph(NamedTuple):
    """Cells by rows (CSR) with integer flows; int32 but for `pointers` and `flow` (int64) and `cost` (float64).

    The cells with flow of column j are a doubly linked list: first[j], after[.], before[.], ended by -1.
    """

    pointers: Array
    heads: Array
    tails: Array
    cost: Array
    flow: Array
    first: Array
    after: Array
    before: Array


class Nodes(NamedTuple):
    """One side of a `Graph`: potentials, marginals (int64), and which marginals a potential asks for.

    A marginal r is optimal for its potential x exactly if, with kinks low <= high and levels (3, n) in int64,

        x < low: r = levels[0]     low < x < high: r = levels[1]     x > high: r = levels[2],

    and at a kink anything between its two neighbours. Kinks at -inf and inf with levels a are a fixed marginal.
    """

    potential: Array
    marginal: Array
    levels: Array
    low: float
    high: float


class SimplexRules(NamedTuple):
    """What counts as rounding in `DenseSimplex.solve`.

    A cell costs less than its potentials if it does by more than `tight` times these, `whole` times where costs are
    integers. Masses are integers of so many `bits` that agree to `dust`. Where many costs differ by less than 1 /
    `alike` of them, digits of sums would be lost.
    """

    tight: float
    whole: float
    bits: int
    dust: int
    alike: float


class SimplexResult(NamedTuple):
    """Of many problems: their basis, a tree of rows and columns on the last column, with flow to or from `parents`.

    Potentials (B, n + m) are those of rows, then of columns; flows are integers in `units` of mass. Facts (B, 8) are
    the lowest and the largest cost, primal and dual value, each a sum and what rounding has lost of it, how much more
    the plan costs than its potentials, and the size of what it costs. `solved` is false of problems that are left to
    others.
    """

    potentials: Array
    parents: Array
    flows: Array
    units: Array
    facts: Array
    solved: Array


class AssignmentRules(NamedTuple):
    """When `DenseAssignment.solve` gives a problem up, and what it does not trust.

    That is where more rows than `waiting` are left to be matched by paths, and where more rows than `read` have been
    read for these. Where many costs differ by less than 1 / `alike` of them, digits of sums would be lost.
    """

    alike: float
    waiting: int
    read: int


class AssignmentResult(NamedTuple):
    """Of many problems: the columns (B, n) of rows, and potentials u (B, n) and v (B, m).

    Facts (B, 4) are the lowest cost, by how much the assignment costs more than its potentials, and the sum and the
    largest of the sizes of matched costs. `solved` is false of problems that are left to others.
    """

    matches: Array
    u: Array
    v: Array
    facts: Array
    solved: Array


class Backend(Protocol):
    """What solvers and certificates may call. Names and argument order are the same in every module."""

    def potential(self, side: Side, log_ratio: Array, out: Array) -> None:
        """F maximising the dual for log_ratio = log(weight / s), by the code of the side.

        LOGARITHMIC  F = strength * log_ratio                                   Fixed (1), KL (tau), Free (0)
        CLIPPED      F = clip(log_ratio, -strength, strength)                   TV, strength = rho / epsilon
        BOXED        F = clip(0, strength + log_ratio, strength2 + log_ratio)   Between, logs of lo and hi
        QUADRATIC    weight - strength * F = weight * exp(F - log_ratio)        L2, strength = epsilon / rho
        """

    def scratch(self, shape: tuple[int, int], fast: bool, brief: bool = False) -> Any:
        """Work space for the sweeps below, O(threads * m).

        `fast`: exponentials in float32, arguments in float64. `brief`: calls are for an iteration or two. It may keep
        sides that it has seen, by their identity: their arrays are not written to.
        """

    def matrix_like(self, cost: Array, dtype: Any) -> Array:
        """A matrix of the shape of `cost`, to be written, in the memory that kernels read."""

    def row_max(self, cost: Array, inv_epsilon: float, beta: Array, out: Array) -> None:
        """out_i = max_j (beta_j - cost_ij inv_epsilon)."""

    def col_max(self, cost: Array, inv_epsilon: float, alpha: Array, out: Array) -> None:
        """out_j = max_i (alpha_i - cost_ij inv_epsilon)."""

    def least_cells(self, cost: Array, beta: Array, which: Array, indices: Array, least: Array) -> None:
        """Columns of the k = indices.shape[1] smallest cost_ij - beta_j of each row i = which_q, in any order.

        least_q is the smallest. -1 stands where fewer cells are finite. Which of equal cells are taken depends on the
        row, so that ties spread over the columns. Needs k <= m; `indices` is int32.
        """

    def log_sweeps(
        self,
        cost: Array,
        inv_epsilon: float,
        rows: Side,
        cols: Side,
        omega: tuple[float, float],
        alpha: Array,
        beta: Array,
        log_row: Array,
        log_col: Array,
        previous_alpha: Array,
        log_col_updated: Array,
        scratch: Any,
        count: int,
    ) -> None:
        """`count` full iterations in the log domain, one read of the cost and one exponential an entry each.

        An iteration, with F = alpha - rows.offset, G = beta - cols.offset and `potential` as above:

            G += omega[1] (potential(log b - log_col + G) - G)                   O(m)
            log_row_i = log sum_j P_ij;  previous_alpha = alpha
            F += omega[0] (potential(log a - log_row + F) - F)
            log_col_j = log sum_i P_ij                                           same pass over the cost

        On entry log_col belongs to (alpha, beta); on exit again. log_row belongs to (previous_alpha, beta), and
        log_col_updated to the same pair.
        """

    def scaling_sweeps(
        self,
        kernel: Array,
        base_alpha: Array,
        base_beta: Array,
        rows: Side,
        cols: Side,
        omega: tuple[float, float],
        alpha: Array,
        beta: Array,
        log_row: Array,
        log_col: Array,
        previous_alpha: Array,
        log_col_updated: Array,
        scratch: Any,
        count: int,
        limit: float,
    ) -> tuple[int, bool]:
        """Do the iterations of `log_sweeps` on kernel = exp(base_alpha_i + base_beta_j - cost_ij inv_epsilon).

        The scalings are u = exp(alpha - base_alpha), v = exp(beta - base_beta). Returns how many iterations were
        completed and whether the kernel still serves: it does not when a scaling left (1/limit, limit) or a sum
        vanished or overflowed. An iteration that failed leaves the vectors as they were before it.
        """

    def plan(
        self, cost: Array, inv_epsilon: float, alpha: Array, beta: Array, out: Array, coarse: bool = False
    ) -> None:
        """out_ij = P_ij, in the dtype of `out`; also how the kernel of `scaling_sweeps` is filled.

        With `coarse` a float32 `out` may be wrong by 2e-7 relative, and 4e-8 more for every power of 2 below 1.
        """

    def marginals(
        self, cost: Array, inv_epsilon: float, alpha: Array, beta: Array, row_sum: Array, col_sum: Array
    ) -> None:
        """row_sum_i = sum_j P_ij and col_sum_j = sum_i P_ij in float64, one pass."""

    def apply(
        self, cost: Array, inv_epsilon: float, alpha: Array, beta: Array, x: Array, transpose: bool, out: Array
    ) -> None:
        """Out = P x (n, k), or P^T x (m, k) with `transpose`; P is never stored."""

    def plan_tangent(
        self,
        cost: Array,
        inv_epsilon: float,
        alpha: Array,
        beta: Array,
        bar: Array,
        x: Array,
        y: Array,
        slope: float,
        out: Array,
        row_sum: Array,
        col_sum: Array,
        row_dot: Array,
    ) -> None:
        """A change of the plan and its row and column sums, in float64, one pass over cost and bar.

            out_ij = inv_epsilon P_ij (x_i + y_j + slope E_ij - bar_ij),    row_dot_i = sum_j out_ij E_ij,

        with E_ij = alpha_i + beta_j - cost_ij inv_epsilon. Where P is 0 so is `out`, whatever `bar` holds.
        """

    def rounded_sums(
        self,
        cost: Array,
        inv_epsilon: float,
        alpha: Array,
        beta: Array,
        row_factor: Array,
        col_factor: Array,
        row_rest: Array,
        col_rest: Array,
        divergence: Array,
        transport: Array,
    ) -> None:
        """Row sums of KL(Q | P) and of cost * Q for Q_ij = row_factor_i P_ij col_factor_j + row_rest_i col_rest_j.

        Cells with P = 0 because of a -inf argument are left out of both.
        """

    def support_sizes(
        self,
        cost: Array,
        inv_epsilon: float,
        alpha: Array,
        beta: Array,
        row_least: Array,
        col_least: Array,
        which: Array,
        sizes: Array,
    ) -> None:
        """sizes_k = number of cells j of row i = which_k with log P_ij > min(row_least_i, col_least_j)."""

    def support_cells(
        self,
        cost: Array,
        inv_epsilon: float,
        alpha: Array,
        beta: Array,
        row_least: Array,
        col_least: Array,
        pointers: Array,
    ) -> Support:
        """Return the support of the entries with log P_ij > min(row_least_i, col_least_j).

        `pointers` (n + 1, int64) are the running sums of what `support_sizes` finds.
        """

    def support_of(self, pointers: Array, indices: Array, cost: Array, m: int) -> Support:
        """The support of any cells of m columns; indices are int32. Arrays are not copied where they can serve."""

    def cell_bytes(self, cost: Array) -> int:
        """Memory that a cell of a support takes together with its place in `sparse_like`."""

    def support_sweeps(
        self,
        support: Support,
        inv_epsilon: float,
        rows: Side,
        cols: Side,
        omega: tuple[float, float],
        alpha: Array,
        beta: Array,
        log_row: Array,
        log_col: Array,
        previous_alpha: Array,
        log_col_updated: Array,
        count: int,
    ) -> bool:
        """`log_sweeps` of the plan that is zero off the support; support.values are P under the new alpha.

        False, and the vectors not to be used, if some row or column in use has lost all its mass.
        """

    def sparsify(self, support: Support, row_least: Array, col_least: Array, out: Sparse) -> None:
        """The entries of support.values above min(row_least_i, col_least_j), as `out` (pointers included)."""

    def sparse_like(self, support: Support) -> Sparse:
        """Room for what `sparsify` writes, in the memory that kernels read."""

    def sparse_of(self, pointers: Array, indices: Array, values: Array, m: int) -> Sparse:
        """A matrix of m columns; indices are int32, values float64. Arrays are not copied where they can serve."""

    def sparse_squares(self, matrix: Sparse, row_weight: Array, out: Array) -> None:
        """out_j = sum_i row_weight_i P_ij^2."""

    def sparse_gram(self, matrix: Sparse, row_weight: Array, out: Array) -> None:
        """Out = P^T diag(row_weight) P, dense (m, m)."""

    def sparse_gradients(
        self, matrix: Sparse, row_weight: Array, diagonal: Array, krylov: Krylov, goal: float, radius: float, count: int
    ) -> tuple[int, int]:
        """At most `count` iterations of conjugate gradients (Hestenes and Stiefel 1952) on S x = rhs, continued.

            S x = diagonal * x - P^T (row_weight * (P x)),        P = matrix

        with a diagonal preconditioner. Returns how many were done and why they ended: REACHED if the L1 norm of the
        residual is at most `goal`; LEFT if x left the box abs(x) <= radius, to which it is then scaled back
        (Steihaug 1983), or if S shows no positive curvature; CONTINUES otherwise.
        """

    def dense_product(self, kernel: Array, x: Array, transpose: bool, out: Array) -> None:
        """Out = kernel x, or kernel^T x with `transpose`, for a stored matrix; sums are in double precision."""

    def dense_gradients(
        self,
        kernel: Array,
        col_factor: Array,
        row_weight: Array,
        diagonal: Array,
        krylov: Krylov,
        goal: float,
        radius: float,
        count: int,
    ) -> tuple[int, int]:
        """Do the iterations of `sparse_gradients` with P_ij = kernel_ij col_factor_j, read once a product."""


class Shares(Protocol):
    """The rows' half of iterations, for rows of which others lie elsewhere, and products in which rows are summed over.

    `out` (m,) gets what these rows add to the sums of columns, as plain numbers: nothing is done where they vanish or
    overflow, since it is the sums over all rows that count. Of `Vectors` only those of the rows are written.
    """

    def log_share(
        self, cost: Array, inv_epsilon: float, rows: Side, omega: float, vectors: Vectors, scratch: Any, out: Array
    ) -> None:
        """The row update of `Backend.log_sweeps`; out_j = sum_i P_ij under the new alpha."""

    def cloud_share(
        self, cloud: Any, inv_epsilon: float, rows: Side, omega: float, vectors: Vectors, fast: bool, out: Array
    ) -> None:
        """`log_share` of points."""

    def scaling_share(
        self,
        kernel: Array,
        base_alpha: Array,
        rows: Side,
        omega: float,
        vectors: Vectors,
        v: Array,
        limit: float,
        out: Array,
    ) -> int:
        """The row update of `Backend.scaling_sweeps`, given the scalings v of the columns; out_j = v_j (K^T u)_j.

        Returns 2 where all scalings of the rows are inside of the limit, 1 where these and their sums are positive and
        finite, else 0.
        """

    def support_share(
        self, support: Support, inv_epsilon: float, rows: Side, omega: float, vectors: Vectors, out: Array
    ) -> bool:
        """The row update of `Backend.support_sweeps`; False if a row in use has no mass on the support."""

    def sparse_share(self, matrix: Sparse, row_weight: Array, x: Array, out: Array) -> None:
        """Out = P^T (row_weight * (P x)) for a sparse P."""

    def dense_share(self, kernel: Array, row_weight: Array, x: Array, out: Array) -> None:
        """Out = K^T (row_weight * (K x)) for a stored K, read once."""


class CloudBackend(Protocol):
    """The primitives for costs between points, of which no matrix is stored: those of `Backend` that have their names.

    A cloud is what `cloud` makes of points; only backends look into it.
    """

    def cloud(self, x: Array, y: Array, metric: Metric, ordered: bool = False) -> Any:
        """Return points (n, d) and (m, d) as the others read them; y may be x itself.

        With `ordered` they stand in an order in which neighbours are together already, see `ordered`.

        Their costs are, in double precision and by SciPy's names,

            sqeuclidean  sum_k (x_ik - y_jk)^2          euclidean  its root          cityblock  sum_k |x_ik - y_jk|
            dot          - sum_k x_ik y_jk              cosine     1 - <x_i, y_j> / (|x_i| |y_j|)
        """

    def transposed(self, cloud: Any) -> Any:
        """Return it with rows and columns exchanged, without a copy."""

    def shifted(self, cloud: Any, offset: float) -> Any:
        """Return it with costs less `offset`, without a copy."""

    def sweeps(
        self,
        cloud: Any,
        inv_epsilon: float,
        rows: Side,
        cols: Side,
        omega: tuple[float, float],
        vectors: Vectors,
        fast: bool,
        count: int,
        masses: Array | None = None,
    ) -> None:
        """Do the iterations of `Backend.log_sweeps`.

        `masses` get the mass of every pair of blocks that the cloud reads (`pairs_read`), after the last row update.
        `fast`: what belongs to pairs of points is in float32, relative to centres near both where there are few
        coordinates; what belongs to one point is in double precision, and so are sums.
        """

    def marginals(
        self, cloud: Any, inv_epsilon: float, alpha: Array, beta: Array, row_sum: Array, col_sum: Array
    ) -> None:
        """row_sum_i = sum_j P_ij and col_sum_j = sum_i P_ij in float64, one pass."""

    def row_max(self, cloud: Any, inv_epsilon: float, beta: Array, out: Array) -> None:
        """out_i = max_j (beta_j - C_ij inv_epsilon), over the pairs that the cloud reads."""

    def ordered(self, cloud: Any) -> tuple[Any, Array, Array, Array, Array]:
        """Return it with points in an order in which neighbours are together: it, both orders, and the points in them.

        Every aligned run of 2^k points of this order is a cell of a tree.
        """

    def prune(
        self, cloud: Any, inv_epsilon: float, alpha: Array, beta: Array, offsets: tuple[Array, Array], most: float
    ) -> tuple[Any, float]:
        """Return the cloud with only those pairs of points that may carry mass, and a bound on the mass of the others.

        The bound is at most about `most`, and proved. All that reads a plan, but for `entries`, then reads these pairs.
        `offsets` are what potentials hold beside what changes little between neighbours: -inf where they are. Where
        hardly anything can be left out the cloud reads all pairs, and the bound is 0.
        """

    def single_rounding(self, cloud: Any, inv_epsilon: float) -> float:
        """Return by how much single precision may change entries that matter, relative to them."""

    def pairs_read(self, cloud: Any) -> int:
        """Return how many pairs of blocks a pruned cloud reads; 0 where it reads all."""

    def trim(self, cloud: Any, masses: Array, most: float) -> Any:
        """Return a pruned cloud less those pairs of blocks that carry least, `most` together, by their `masses`."""

    def share(self, cloud: Any) -> float:
        """Return the share of all pairs that it reads."""

    def gram(
        self, cloud: Any, inv_epsilon: float, alpha: Array, beta: Array, weight: Array, fast: bool = False
    ) -> Callable[[Array, Array], None]:
        """Return (x, out): out = P^T (weight * (P x)) for vectors x (m,), in one pass; `fast` as in `apply`."""

    def support_sizes(
        self,
        cloud: Any,
        inv_epsilon: float,
        alpha: Array,
        beta: Array,
        least: tuple[Array, Array],
        which: Array,
        sizes: Array,
    ) -> None:
        """`Backend.support_sizes`."""

    def support_cells(
        self, cloud: Any, inv_epsilon: float, alpha: Array, beta: Array, least: tuple[Array, Array], pointers: Array
    ) -> tuple[Array, Array]:
        """Return the columns, in any order within a row, and the costs of the cells of `Backend.support_cells`."""

    def apply(
        self, cloud: Any, inv_epsilon: float, alpha: Array, beta: Array, x: Array, out: Array, fast: bool = False
    ) -> None:
        """Out = P x (n, k); `fast` as in `sweeps`, with x rounded to float32 and products summed in it for a while."""

    def slopes(self, cloud: Any, inv_epsilon: float, alpha: Array, beta: Array, out: Array, fast: bool = False) -> None:
        """Out = sum_j P_ij dC_ij/dx_i, and in the last column sum_j P_ij (n, d + 1); `fast` as in `apply`.

        For "euclidean", (x_i - y_j) / |x_i - y_j| or 0 where they are equal, and "cityblock", signs of differences.
        Those of the other metrics are products.
        """

    def rounded_sums(
        self,
        cloud: Any,
        inv_epsilon: float,
        alpha: Array,
        beta: Array,
        parts: tuple[Array, Array, Array, Array],
        divergence: Array,
        transport: Array,
    ) -> None:
        """Row sums of KL(Q | P) and of C * Q, over the pairs that the cloud reads.

        `parts` are row_factor, col_factor, row_rest, col_rest.
        """

    def sites(self, x: Array) -> Any:
        """Return points (n, d) as `least_cells` reads them."""

    def least_cells(
        self,
        metric: Metric,
        sides: tuple[Any, Any],
        offset: float,
        v: Array,
        which: Array,
        indices: Array,
        least: Array,
    ) -> None:
        """`Backend.least_cells` of the costs between two `sites`, less `offset`, for one of `BOUNDED_METRICS`.

        Of reduced costs that are equal but for rounding any may be taken for the smaller one.
        """

    def entries(self, cloud: Any, x: Array, out: Array) -> None:
        """Out = costs of other points x (k, d) and all columns, in the dtype of `out`."""


class BatchBackend(Protocol):
    """The primitives for many problems in one call: the first axis of every array; a side has one rule for each."""

    def batch_sweeps(
        self,
        cost: Array,
        batch: Batch,
        rows: Side,
        cols: Side,
        omega: tuple[float, float],
        alpha: Array,
        beta: Array,
        which: Array,
        goal: Array | None,
        count: int,
        end: str,
        cold: bool,
        precision: str,
        done: Array,
        residual: Array,
        plans: Array | None = None,
    ) -> None:
        """Iterations on the problems `which`, each a row update and then a column update, from alpha and beta.

        Without `goal` exactly `count`; with end="rows" the last one has no column update. With `goal` every problem
        stops as soon as the residual (L1 change of both marginals under one more exact update, in units of the mass)
        is at most goal_k, the potentials then ending on the side `end`; those that have not got there after `count`
        end on a column update. done_q and residual_q say what became of problem which_q. `cold`: alpha is not looked
        at. `precision`: "double", or exponentials and kernel in float32 ("mixed"), or their arguments, too ("single").
        Without `goal`, `plans` gets the plans in the user's units, as precise as the kernel.
        """

    def batch_plan(self, cost: Array, batch: Batch, alpha: Array, beta: Array, out: Array) -> None:
        """out_kij = P_ij of problem k in the dtype of `out`, 0 beyond its lengths."""

    def batch_marginals(
        self, cost: Array, batch: Batch, alpha: Array, beta: Array, which: Array, row_sum: Array, col_sum: Array
    ) -> None:
        """Marginals of the problems `which` in float64, 0 beyond their lengths; the others' stay as they are."""

    def batch_rounded_sums(
        self,
        cost: Array,
        batch: Batch,
        alpha: Array,
        beta: Array,
        which: Array,
        row_factor: Array,
        col_factor: Array,
        row_rest: Array,
        col_rest: Array,
        divergence: Array,
        transport: Array,
    ) -> None:
        """`Backend.rounded_sums` of the problems `which`; arrays have all problems, the others' stay as they are."""

    def batch_potential(self, sides: Side, log_ratio: Array, out: Array) -> None:
        """`Backend.potential` for every problem; -inf on removed entries."""


class BatchDerivatives(Protocol):
    """Derivatives of many problems in one call; `sound` is False where a problem needs the formulas for one alone."""

    def batch_pull_back_iterations(
        self,
        cost: Array,
        batch: Batch,
        rows: Side,
        cols: Side,
        ends: tuple[Array, Array],
        start: Array,
        count: int,
        end: str,
        product: bool,
        plan_bar: Array | None,
        row_bar: Array,
        col_bar: Array,
        precision: str,
        which: Array,
        out: BatchBars,
    ) -> None:
        """The derivative of `count` iterations from the columns' potentials `start` to `ends` (alpha and beta).

        A half step of the rows, with a scaling u_i = exp(alpha_i - base_i) and so on, is s = K v, u = update(s); a
        derivative bar_i in alpha_i becomes, with x_i = bar_i (d update / d log ratio)_i / s_i,

            dL/dv_j v_j = - v_j (K^T x)_j,      dL/dC_ij += K_ij x_i v_j / epsilon,

        and the columns' half step the same with rows and columns exchanged. plan_bar is dL/dP, the other two are
        dL/df and dL/dg times epsilon, 0 on removed entries. K is in float32 unless precision = "double"; not sound are
        problems whose scalings leave its range. With `product` the reference moves with the weights. Only the problems
        `which` are looked at, and everything of theirs is written, beyond their lengths as well.
        """

    def batch_pull_back(
        self,
        cost: Array,
        batch: Batch,
        alpha: Array,
        beta: Array,
        diagonals: tuple[Array, Array],
        rigid: Array,
        plan_bar: Array | None,
        row_side: Array,
        col_side: Array,
        out: BatchSystem,
    ) -> None:
        """Implicit differentiation, O(n m): [D_a, P; P^T, D_b] (x; y) = (row_side + B 1; col_side + B^T 1).

        B = P * plan_bar and (D_a, D_b) = diagonals, 0 for entries outside of the system. Then

            cost = P * (x 1^T + 1 y^T - plan_bar) / epsilon,    rows, cols = its sums,     dot = <cost, log P>.

        By conjugate gradients on S = D_b - P^T D_a^-1 P, in double precision, to rounding; a `rigid` system is solved
        up to constants. Not sound are problems where that took too long.
        """

    def batch_plan_dots(self, cost: Array, batch: Batch, alpha: Array, beta: Array, out: Array, dots: Array) -> None:
        """`batch_plan`, and dots_k = <P, log P> of problem k."""


class DenseSimplex(Protocol):
    """Exact transport between fixed sides on all cells of small matrices, many in one call, by the network simplex."""

    def solve(
        self, costs: Array, weights: Array, rules: SimplexRules, found: SimplexResult, begin: int, end: int
    ) -> None:
        """Problems `begin` to `end` of costs (B, n, m) in float64 and C order, with positive weights (B, n + m).

        A problem is not solved where a cell is forbidden, and where weights do not agree or rounding has no end.
        """


class DenseAssignment(Protocol):
    """Assignments on all cells of matrices, many in one call, by shortest augmenting paths."""

    def solve(self, costs: Array, rules: AssignmentRules, found: AssignmentResult, begin: int, end: int) -> None:
        """Problems `begin` to `end` of costs (B, n, m), n <= m, in float64 and C order.

        All rows are matched, at the least sum. +inf forbids a cell. A problem is not solved where that leaves no
        assignment, where it has nan, -inf or numbers without a sum, and where the rules say so.
        """


class Line(Protocol):
    """Relaxed transport on the line: prices over all pairs, and equations between neighbours, both in linear time."""

    def cheapest(self, x: Array, y: Array, g: Array, exponent: float, places: Array) -> None:
        """The first j with the least abs(x_i - y_j)^p - g_j for every i, into places (n,) of int64; x and y ascend.

        The costs are a Monge matrix, so that the places never fall: O((n + m) log n).
        """

    def factorise(self, values: Array, first: Array, start: Array) -> None:
        """The lower factor of a symmetric positive definite matrix, in place of its own lower triangle.

        Row k has its entries from column first_k up to the diagonal at values[start_k:start_(k + 1)]; the factor has no
        others. A pivot that rounding has made 0 or less becomes so large that its unknown is 0.
        """

    def substitute(self, values: Array, first: Array, start: Array, x: Array) -> None:
        """The solution of the system with the factor of `factorise`, in place of the right-hand side."""


class Paths(Protocol):
    """Exact transport on some cells, unregularised: minimise <C, P> + phi_a(P 1) + phi_b(P^T 1) by shortest paths.

    Potentials stay feasible, u_i + v_j <= C_ij on the graph's cells, and cells with flow stay tight; what changes is
    that fewer and fewer rows send less than their potential asks for. Masses are integers, so that comparing them is
    exact. Everything is changed in place.
    """

    def search_space(self, n: int, m: int) -> Any:
        """Work space of `ship` for n rows and m columns."""

    def ship_tight(self, graph: Graph, rows: Nodes, cols: Nodes, tight: float) -> None:
        """Send along single cells with a reduced cost of at most `tight` what rows ask for and columns can take."""

    def ship(
        self,
        graph: Graph,
        rows: Nodes,
        cols: Nodes,
        search: Any,
        blocked: Array,
        blocked_cols: Array,
        pause: Callable[[], object],
    ) -> None:
        """Send from every row what its potential asks for, by shortest paths.

        It ends at the first search that finds no way out: the rows and columns it has reached become true in `blocked`
        and `blocked_cols`. These rows have no other cells, and together ask for more than these columns can take.
        `pause` is called now and then and may raise.
        """

    def balance(
        self,
        graph: Graph,
        rows: Nodes,
        cols: Nodes,
        order: Array,
        slack: float,
        whole: bool,
        blocked: Array,
        blocked_cols: Array,
        pause: Callable[[], object],
    ) -> None:
        """The optimum on the graph of a problem whose sides are both fixed and have one sum, by the network simplex.

        It begins with the flow that is there if that serves everything and has no cycles, else with cells in the
        given order. Reduced costs above -slack (|u_i| + |v_j|) count as none; costs are integers if they are `whole`.
        Where the cells cannot carry everything, potentials mean nothing, and `blocked` and `blocked_cols` are as for
        `ship`. `pause` is called now and then and may raise.
        """

    def withdraw(self, graph: Graph, rows: Nodes, cols: Nodes, tight: float) -> int:
        """Take back the flow of cells with a reduced cost above `tight`; returns of how many."""

    def extend(self, graph: Graph, place: Array, heads: Array, cost: Array) -> Graph:
        """With further cells: row i gets the columns heads[place_i] it does not have yet, none where place_i < 0."""

    def transpose(self, graph: Graph) -> Graph:
        """Rows and columns exchanged."""
