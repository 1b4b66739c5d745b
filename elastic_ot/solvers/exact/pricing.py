"""Unregularised transport, proved optimal: near-optimal potentials, a few cells, shortest paths, prices of the rest.

Paths make a plan that is optimal on the cells of the core. The rest of the cost is then priced: where u_i + v_j exceeds
C_ij, the row gets more cells and a smaller u_i, and what it sent along cells that are no longer tight is sent anew.
When nothing is left to price the potentials are feasible everywhere and tight where the plan is positive, which is the
proof. Every round adds cells, so the whole cost is reached in the end. The driver has no part in it: there is no
iterate to measure, only a proof or none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...backends.protocol import Nodes, Paths
from ...problems.penalties import Fixed
from ...problems.penalty import Vector
from ...problems.problem import Problem
from .cloud_start import cloud_potentials, is_searched
from .core import FIRST_CELLS, Core
from .mass_levels import asked, bounded, few_units, levels, met, resolved, rounding, snapped
from .warm_start import FULL_LEVELS, Pause, anneal, potentials, refine

TIGHT = 1e-14  # of the largest potentials: a violation that counts as rounding
WHOLE = 2.0**-54  # the same for integers, of the potentials of a cell: nothing below 2**52
ROOM, SIMPLEX_ROOM = 2, 8  # cells a row by which the core grows where mass is stuck
PROOF = 1e-10  # of the costs: a gap that counts as rounding
WIDER = 4  # times as many cells a row, where the gap is more than that
PRICING_PATIENCE = 40  # rounds after which more counts as rounding, so that it cannot keep the loop going
EASY = 0.6  # of the rows served by their cheapest cells at once: no annealing is needed
LOOK_CELLS = 8  # cells a row for that
FAR_RANGE = 30.0  # times the range that a row's cheapest costs suggest, at which a larger range is not believed
ATTEMPTS = 4  # at a core, each DEEPER times further down than the one before
DEEPER = 27.0
MISSED = 0.1  # of the rows without their best cell: too many
AGAIN = 16  # cells of a row whose price was wrong
NONE = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Exact:
    """A plan and potentials that prove it.

    Attributes
    ----------
    rows, cols, masses : ndarrays
        The positive entries of the plan.
    u, v : ndarray
        Potentials, u_i + v_j <= C_ij to rounding; -inf on rows and columns not in use.
    rounds : int
        How often the whole cost was priced.
    proved : bool
        The plan costs what the potentials do, to rounding.
    blocked : ndarray of int
        Rows that ask for more than all their columns can take: if there are any, there is no plan.
    blocked_cols : ndarray of int
        The same for columns.
    """

    rows: NDArray[np.int32]
    cols: NDArray[np.int32]
    masses: Vector
    u: Vector
    v: Vector
    rounds: int
    proved: bool
    blocked: NDArray[np.int64]
    blocked_cols: NDArray[np.int64]

    def transpose(self) -> Exact:
        return replace(
            self,
            rows=self.cols,
            cols=self.rows,
            u=self.v,
            v=self.u,
            blocked=self.blocked_cols,
            blocked_cols=self.blocked,
        )


class Solve:
    """One solve, with the kinks of rows and columns lower by the two numbers `moved`.

    With `integral`, costs are integers; if kinks are, too, so are potentials, and nothing is ever rounded. `pause` is
    called several times a second and may raise.
    """

    def __init__(
        self, problem: Problem, paths: Paths, integral: bool, pause: Pause, moved: tuple[float, float]
    ) -> None:
        self.problem, self.paths, self.pause = problem, paths, pause
        self.cost = problem.cost
        self.plan = self.cost.plan(1.0)
        self.row_list, self.col_list = np.flatnonzero(problem.row_used), np.flatnonzero(problem.col_used)
        self.core = Core(self.cost, paths, self.pause)
        self.annealed = replace(problem, a=resolved(problem.a), b=resolved(problem.b))
        self.unit, levels_a, levels_b = levels(problem)
        self.rounding = 2.0 * rounding(problem, levels_a, levels_b)  # for both sides, and all stuck sets together
        n, m = problem.shape
        self.rows = Nodes(np.zeros(n), np.zeros(n, np.int64), levels_a, *(x - moved[0] for x in problem.rows.kinks()))
        self.cols = Nodes(np.zeros(m), np.zeros(m, np.int64), levels_b, *(x - moved[1] for x in problem.cols.kinks()))
        self.row_floor = problem.rows.least_potential() - moved[0]
        self.col_floor = problem.cols.least_potential() - moved[1]
        self.slack, self.near, self.whole = TIGHT, 0.0, n * m <= FIRST_CELLS * n
        self.balanced = isinstance(problem.rows, Fixed) and isinstance(problem.cols, Fixed)
        self.unit_weights = bool(np.ptp(problem.a) == 0 and np.ptp(problem.b) == 0 and n == m) or (
            is_searched(self.cost) and few_units(problem.a, problem.b)
        )
        kinks = np.array([self.rows.low, self.rows.high, self.cols.low, self.cols.high])
        self.integral = integral and bool((~np.isfinite(kinks) | (kinks == np.rint(kinks))).all())
        self.ceiling = self._ceiling()

    def run(self) -> Exact:
        with np.errstate(all="ignore"):  # extreme weights and costs; what comes of them is proved, or not
            return self._run()

    def _run(self) -> Exact:
        first, least = self._start()
        found, cells = self._solve_from(first, least), FIRST_CELLS
        while not (found.proved or found.blocked.size or found.blocked_cols.size) and cells < self.cost.shape[1]:
            # a path over a huge cost has cost the potentials their digits: more cells, in the end all, to go round it
            cells *= WIDER
            self.whole = cells >= self.cost.shape[1]
            least[self.row_list] = self.core.grow_rows(self.row_list, first, cells)
            found = self._solve_from(first, least)
        return found

    def _feasible(self, i: np.int64, u: float, v: Vector) -> bool:
        """True if this potential of row i is too large for its cells by rounding at most."""
        costs = self.cost.block(slice(int(i), int(i) + 1), slice(0, self.cost.shape[1]))
        return allowed(costs, np.array([u]), np.where(self.problem.col_used, v, -np.inf))

    def _proved(self, rows: NDArray[np.int32], cols: NDArray[np.int32], masses: Vector, u: Vector, v: Vector) -> bool:
        """True if marginals are what potentials ask for, and what the plan costs above them is rounding."""
        if not (met(self.rows) and met(self.cols)):
            return False
        costs = self.cost.at(rows, cols).astype(np.float64)
        above = float((masses * (costs - u[rows] - v[cols])).sum())
        scale = self.near
        if self.whole:  # no path goes where it need not: potentials are as large, and round as much, as they must
            kinks = np.abs([self.rows.low, self.rows.high, self.cols.low, self.cols.high])
            largest = np.concatenate([np.abs(costs), kinks[np.isfinite(kinks)]]).max(initial=0.0)
            scale = np.abs(u[rows]) + np.abs(v[cols]) + largest
        size = float((masses * (np.abs(costs) + 1e-3 * scale)).sum())
        return above <= PROOF * size

    def _solve_from(self, first: Vector, least: Vector) -> Exact:
        u, v = self.rows.potential, self.cols.potential
        self.rows.marginal[:], self.cols.marginal[:], self.slack = 0, 0, TIGHT
        self.core.graph.flow[:], self.core.graph.first[:] = 0, -1
        u[:], v[:] = 0.0, first
        u[:] = bounded(np.where(self.problem.row_used, self.core.least(v), 0.0), self.rows)
        u[:] = snapped(u, self.rows, self._tight(v))
        if self.balanced and not self.unit_weights:
            return self._by_simplex(least)
        self._admit(least)
        self.paths.ship_tight(self.core.graph, self.rows, self.cols, self._tight(v))
        forth, back = self.paths.search_space(*self.cost.shape), self.paths.search_space(*self.cost.shape[::-1])
        rounds = 0
        while True:
            rounds += 1
            self.slack = TIGHT * 2.0 ** (rounds // PRICING_PATIENCE)
            blocked, blocked_cols = self._ship(self.rows, self.cols, forth)
            stuck = np.flatnonzero(blocked)
            if stuck.size:
                if not (
                    self.core.leave_rows(stuck, u, np.where(blocked_cols, -np.inf, v), ROOM * u.size)
                    or self._explained(self.rows, blocked * (asked(self.rows) - self.rows.marginal))
                ):
                    return self._result(rounds, least, rows=stuck)
                self._repair(self.core.least(v))
                continue
            if (asked(self.cols) > self.cols.marginal).any():
                blocked, blocked_cols = self._ship_back(back)
                stuck = np.flatnonzero(blocked_cols)
                if stuck.size:
                    if not (
                        self.core.leave_cols(stuck, np.where(blocked, -np.inf, self._row_prices(u)), v, ROOM * u.size)
                        or self._explained(self.cols, blocked_cols * (asked(self.cols) - self.cols.marginal))
                    ):
                        return self._result(rounds, least, cols=stuck)
                    self._repair(self.core.least(v))
                    continue
            lowered = self._lower(v)
            least = self._least(v)
            if not (self._admit(least) or lowered):
                return self._result(rounds, least)

    def _by_simplex(self, least: Vector) -> Exact:
        """Both sides fixed, general weights: many small flows, for which paths would be searched again and again."""
        u, v, rounds = self.rows.potential, self.cols.potential, 0
        self._add_missed(least)
        slack = WHOLE if self.integral else TIGHT
        while True:
            rounds += 1
            graph, known = self.core.graph, (u.copy(), v.copy())
            order = NONE if self._served() else np.argsort(graph.cost - u[graph.tails] - v[graph.heads])
            blocked, blocked_cols = np.zeros(u.size, bool), np.zeros(v.size, bool)
            self.paths.balance(
                graph, self.rows, self.cols, order, slack, self.integral, blocked, blocked_cols, self.pause
            )
            v[~self.problem.col_used] = -np.inf
            if blocked.any():
                u[:], v[:] = known
                short = [side.levels[1] - side.marginal for side in (self.rows, self.cols)]
                graph.flow[:], self.rows.marginal[:] = 0, 0
                stuck = np.flatnonzero(blocked & self.problem.row_used)
                if not (
                    self.core.leave_rows(stuck, u, np.where(blocked_cols, -np.inf, v), SIMPLEX_ROOM * u.size)
                    or (self._explained(self.rows, short[0]) and self._explained(self.cols, short[1]))
                ):
                    return self._result(rounds, least, rows=stuck)
                continue
            least = self._least(v)
            cells = graph.heads.size
            if not (self._add_missed(least) and self.core.graph.heads.size > cells):
                return self._result(rounds, least)

    def _explained(self, side: Nodes, short: NDArray[np.int64]) -> bool:
        """True if rounding of the weights explains what lines lack that no cell can carry: they ask for less then."""
        short = np.maximum(short, 0)
        if (lacking := float(short.sum(dtype=np.float64))) > self.rounding:
            return False
        self.rounding -= lacking
        side.levels[:] -= np.minimum(side.levels, short)
        return True

    def _served(self) -> bool:
        """True if the flow meets both fixed sides."""
        rows, cols = self.rows, self.cols
        return bool((rows.marginal == rows.levels[1]).all() and (cols.marginal == cols.levels[1]).all())

    def _start(self) -> tuple[Vector, Vector]:
        """Potentials of the columns and the rows' least reduced costs; the core is chosen.

        Zero, or the columns' cheapest costs, if most of what the side that asks for more wants fits along its cheapest
        cells; else annealed ones.
        """
        v = self._allowed(np.zeros(self.cost.shape[1]))
        least = np.zeros(self.cost.shape[0])
        least[self.row_list] = self.core.grow_rows(self.row_list, v, LOOK_CELLS)
        whole = self.problem.cost.highest - self.problem.cost.lowest
        self.near = min(whole, self._nearby(v))
        span = self.near or whole
        if asked(self.rows._replace(potential=least)).sum() >= asked(self.cols._replace(potential=v)).sum():
            if self._tight_share(self.rows._replace(potential=least), self.cols._replace(potential=v)) >= EASY:
                return v, least
        else:
            cheap, easy = self._easy_for_columns()
            if easy:
                return cheap, self._least(cheap)
        if is_searched(self.cost):
            return self._start_at(cloud_potentials(self.annealed, self.pause))
        v, level = self._allowed(potentials(self.annealed, span, self.pause)), FULL_LEVELS.last
        for attempt in range(ATTEMPTS):
            if attempt:
                deeper = anneal(self.annealed, FULL_LEVELS.below(level, DEEPER), span, v, self.pause)
                v, level = self._allowed(deeper), level / DEEPER
            self._choose(v)
            refined = self._allowed(refine(self.annealed, self.core.graph, span, v, level, self.pause))
            least = self._least(refined)
            missed = least < self.core.least(refined) - self._tight(refined)
            if missed[self.row_list].mean() <= MISSED:
                break
        return refined, least

    def _start_at(self, v: Vector) -> tuple[Vector, Vector]:
        """A core around given potentials of the columns."""
        v = self._allowed(v)
        self._choose(v)
        return v, self._least(v)

    def _nearby(self, v: Vector) -> float:
        """A range for costs, `FAR_RANGE` times that which a row's cheapest ones suggest; 0 if these are equal.

        A number far above all others, which stands for a forbidden cell, must not set the scale.
        """
        graph = self.core.graph
        filled = np.diff(graph.pointers) > 1
        if not filled.any() or (np.diff(graph.pointers) > LOOK_CELLS).any():
            return 0.0
        reduced, starts = graph.cost - v[graph.heads], graph.pointers[:-1][filled]
        spread = np.maximum.reduceat(reduced, starts) - np.minimum.reduceat(reduced, starts)
        return float(FAR_RANGE * np.median(spread) * self.cost.shape[1] / LOOK_CELLS)

    def _choose(self, v: Vector) -> None:
        """A core anew, around these potentials."""
        self.core = Core(self.cost, self.paths, self.pause)
        least = np.zeros(self.cost.shape[0])
        least[self.row_list] = self.core.grow_rows(self.row_list, v)
        if self.cost.shape[1] > self.cost.shape[0] and isinstance(self.problem.cols, Fixed):  # all must be reached
            self.core.grow_cols(self.col_list, self._row_prices(least))

    def _easy_for_columns(self) -> tuple[Vector, bool]:
        """Potentials at which columns ask for their cheapest cells, and whether most find room there."""
        u = np.where(self.problem.row_used, max(0.0, self.row_floor), 0.0)
        v = np.full(self.cost.shape[1], -np.inf)
        v[self.col_list] = self.core.grow_cols(self.col_list, self._row_prices(u), LOOK_CELLS)
        v = self._allowed(v)
        self.core.graph = self.paths.transpose(self.core.graph)
        share = self._tight_share(self.cols._replace(potential=v), self.rows._replace(potential=u))
        self.core.graph = self.paths.transpose(self.core.graph)
        return v, share >= EASY

    def _tight_share(self, rows: Nodes, cols: Nodes) -> float:
        """Of what rows ask for, as much as tight cells can carry; nothing is kept."""
        rows, cols = (side._replace(marginal=np.zeros_like(side.marginal)) for side in (rows, cols))
        self.paths.ship_tight(self.core.graph, rows, cols, 0.0)
        self.core.graph.flow[:] = 0
        self.core.graph.first[:] = -1
        wanted = float(asked(rows).sum())
        return float(rows.marginal.sum()) / wanted if wanted else 1.0

    def _ship(self, rows: Nodes, cols: Nodes, search: object) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        blocked, blocked_cols = np.zeros(rows.potential.size, bool), np.zeros(cols.potential.size, bool)
        self.paths.ship(self.core.graph, rows, cols, search, blocked, blocked_cols, self.pause)
        return blocked, blocked_cols

    def _ship_back(self, search: object) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """The same from columns that receive less than their potential asks for."""
        self.core.graph = self.paths.transpose(self.core.graph)
        blocked_cols, blocked = self._ship(self.cols, self.rows, search)
        self.core.graph = self.paths.transpose(self.core.graph)
        return blocked, blocked_cols

    def _lower(self, v: Vector) -> bool:
        """Columns whose potential has passed what all rows allow come back; true if there were any."""
        above = np.flatnonzero(v > self.ceiling + self._tight(v))
        if above.size:
            v[above] = snapped(self.ceiling[above], self.cols, self._tight(v))
            self.core.grow_cols(above, self._row_prices(self.rows.potential))
        return bool(above.size)

    def _add_missed(self, least: Vector) -> bool:
        """Put the cells into the core that would make the plan cheaper; false if there are none."""
        u, v = self.rows.potential, self.cols.potential
        wrong = self.row_list[least[self.row_list] < u[self.row_list] - self._tight(v)]
        if wrong.size:
            self.core.add_below(wrong, u, v, AGAIN)
        return bool(wrong.size)

    def _admit(self, least: Vector) -> bool:
        """The same for the paths, which need feasible potentials."""
        missed = self._add_missed(least)
        return self._repair(least) or missed

    def _repair(self, least: Vector) -> bool:
        """Rows whose potential is too large for their cells get the largest possible; what that undoes is withdrawn."""
        u, tight = self.rows.potential, self._tight(self.cols.potential)
        wrong = self.problem.row_used & (least < u - tight)
        u[wrong] = snapped(least[wrong], self.rows, tight)
        return self.paths.withdraw(self.core.graph, self.rows, self.cols, tight) > 0

    def _least(self, v: Vector) -> Vector:
        """min_j C_ij - v_j, 0 for rows not in use."""
        top = np.empty(self.cost.shape[0])
        self.plan.row_max(v, top)
        return np.where(self.problem.row_used, -top, 0.0)

    def _ceiling(self) -> Vector:
        """The most a column's potential may be, so that no row's falls below what its penalty allows."""
        m = self.cost.shape[1]
        if np.isneginf(self.row_floor):
            return np.full(m, np.inf)
        top = np.empty(m)
        self.plan.col_max(self._row_prices(np.zeros(self.cost.shape[0])), top)
        return -top - self.row_floor

    def _row_prices(self, u: Vector) -> Vector:
        """The rows' potentials, -inf where a row is not in use."""
        return np.where(self.problem.row_used, u, -np.inf)

    def _allowed(self, v: Vector) -> Vector:
        """The columns' potentials, such that no row or column refuses them, and integers where costs are."""
        v = np.where(np.isfinite(v), v, 0.0)  # annealing may have overflowed
        v = np.maximum(np.rint(v) if self.integral else v, self.col_floor)
        v = snapped(bounded(np.minimum(v, self.ceiling), self.cols), self.cols, self._tight(v))
        return np.where(self.problem.col_used, v, -np.inf)

    def _tight(self, v: Vector) -> float:
        """What counts as rounding: of the potentials, whose sums are the costs that matter, not of costs far above."""
        if self.integral:
            return 0.5
        u = self.rows.potential[self.row_list]
        return self.slack * float(np.abs(u).max(initial=0.0) + np.abs(v[self.col_list]).max(initial=0.0))

    def _result(
        self, rounds: int, least: Vector, rows: NDArray[np.int64] = NONE, cols: NDArray[np.int64] = NONE
    ) -> Exact:
        graph = self.core.graph
        sent = graph.flow > 0
        plan = graph.tails[sent], graph.heads[sent], graph.flow[sent] * self.unit
        u, v = np.minimum(self.rows.potential, least), self.cols.potential
        # rounding must not take them out of the dual's domain
        u = np.maximum(u, self.row_floor)
        v = np.maximum(v, self.col_floor)
        raised = np.flatnonzero(self.problem.row_used & (u > np.minimum(self.rows.potential, least)))
        feasible = all(self._feasible(i, u[i], v) for i in raised)
        u, v = bounded(u, self.rows), bounded(v, self.cols)
        return Exact(
            rows=plan[0],
            cols=plan[1],
            masses=plan[2],
            u=self._row_prices(u),
            v=np.where(self.problem.col_used, v, -np.inf),
            rounds=rounds,
            proved=feasible and self._proved(*plan, u, v),
            blocked=rows,
            blocked_cols=cols,
        )


def allowed(costs: NDArray[np.floating], u: Vector, v: Vector) -> bool:
    """True if potentials, -inf on lines that are not in use, are too large for these cells by rounding at most."""
    with np.errstate(all="ignore"):
        sizes = np.abs(u)[:, None] + np.abs(v) + np.abs(costs)
        return bool((u[:, None] + v - costs <= 100.0 * TIGHT * sizes).all())
