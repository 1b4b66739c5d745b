"""What a multiscale solve remembers: Newton's state at its level, and where the levels above ended."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ...backends.protocol import Vectors
from ...costs.pruned_plan import PrunedPlan
from ...problems.penalty import Vector
from ..light import weighty
from ..measure import Measure
from ..newton.best import Best
from ..newton.state import NewtonState, Stage
from .levels import Level, Levels
from .passes import ListPasses
from .prolongation import Guess, guess_of
from .two_grid import FEWER, Cells, cells_of

LEFT_SHARE = 0.03  # share of a level's tolerance that pairs not listed may carry
LIST_AT_MOST = 1e-2  # tolerance for which lists are made, at most
DRIFT = 25.0  # nats by which potentials may rise before a list is made anew: twice what it reserves
MOST_PAIRS = 0.5  # of all pairs, from which on lists save less than they cost
MOST_LISTS = 8  # at a level
OVERLOOKED = 1.3  # times the residual of what is listed: a certificate above that has found more
GAP_SHORT, SPARE = 0.5, 0.5  # of the tolerance of the lists: an aim that asks for others, and what these have to spare
MOST_LACKING = 0.8  # share of the tolerance that is left for what is not listed
TRIM = 0.1  # share of a level's tolerance that pairs with little mass may carry together
DUAL_NOISE = 1e-6  # of single precision in the dual, in units of epsilon and the mass
NOISY = 8.0  # times the rounding of entries in single precision: residuals below which steps lead nowhere


@dataclass(eq=False)
class MultiscaleState(NewtonState):
    """Vectors are those of the level at hand: they are replaced when it changes."""

    levels: Levels = field(init=False)
    level: Level = field(init=False)
    number: int = 0
    guess: Guess | None = None
    """Where the level before ended, at the points of this one."""
    leaving: Guess | None = None
    """Where this level ends, while the way to the next one is prepared."""
    following: Level | None = None
    coarse: Cells | None = None
    """Newton's system of the level before, where it has few columns and this one is the last."""
    strictness: float = 1.0
    """Times the tolerance: what lists on target are made for, less where kinks ask for a smaller residual."""
    missing: float = 0.0
    """Mass that is not listed, about."""
    trimmed: bool = False
    """Pairs with little mass are left out."""
    single: bool = False
    """Levels begin in single precision."""
    listed: tuple[Vector, Vector] | None = None
    """The potentials that the list was made for."""
    lists: int = 0
    """Made at this level because potentials had drifted."""
    relisted: bool = False
    """The list was made anew since the target was reached."""

    @property
    def noise(self) -> float:
        return DUAL_NOISE if self.fast else 0.0

    @property
    def pruned(self) -> PrunedPlan:
        plan = self.task.plan
        assert isinstance(plan, PrunedPlan)
        return plan

    @property
    def list_tol(self) -> float:
        """The tolerance for which lists on target are made."""
        return self.strictness * self.tol

    def measure(self) -> Measure:
        """Of the marginals that the list has; on target as much larger as leaves room for what it lacks."""
        if self.known is None:
            found, lacking = super().measure(), 2.0 * self.missing / self.list_tol if self.on_target else 0.0
            self.known = replace(found, residual=found.residual / (1.0 - min(lacking, MOST_LACKING)))
        return self.known

    def enter(self, level: Level, f: Vector, g: Vector) -> None:
        """Go to a level with these potentials; its rows are not exact yet."""
        self.level, self.task = level, level.task
        alpha, beta = self.task.alphas(f, g)
        self.alpha, self.beta = np.where(np.isneginf(alpha), -np.inf, alpha), beta
        self.log_row, self.log_col = np.zeros_like(alpha), np.zeros_like(beta)
        self.previous_alpha, self.log_col_updated = alpha.copy(), np.zeros_like(beta)
        self.vectors = Vectors(
            self.alpha, self.beta, self.log_row, self.log_col, self.previous_alpha, self.log_col_updated
        )
        self.known, self.trial, self.stage = None, None, Stage.LOOK
        self.sweeps = self.steps = 0
        self.damping, self.stretch = 0.1, 1.0
        self.fast = self.scratch = self.single
        self.passes = ListPasses(exact=not self.fast, coarse=self.coarse)
        self.missing, self.trimmed, self.listed, self.lists = 0.0, False, None, 0

    def search(self, share: float) -> None:
        """List what matters at the potentials of this moment, but for a share of the mass."""
        self.pruned.renew(self.alpha, self.beta, share)
        self.missing, self.trimmed, self.listed = share, False, (self.alpha.copy(), self.beta.copy())

    def drifted(self) -> bool:
        """True if potentials have risen so far that other pairs may matter than those that are listed."""
        if self.listed is None or self.lists >= MOST_LISTS:
            return False
        with np.errstate(invalid="ignore"):
            rises = [
                np.where(weighty(side, self.tol, x.size), x - before, -np.inf).max(initial=-np.inf)
                for side, x, before in zip(
                    (self.task.rows, self.task.cols), (self.alpha, self.beta), self.listed, strict=True
                )
            ]
        return bool(sum(rises) > DRIFT)

    def relist(self, share: float) -> None:
        """A list for where the potentials are now; marginals are computed anew."""
        self.search(share)
        self.lists, self.stage, self.known = self.lists + 1, Stage.SWEEP, None
        self.passes = ListPasses(exact=not self.fast)

    def trim(self, share: float) -> None:
        """Leave out what has turned out to carry little."""
        self.pruned.trim(share)
        self.missing, self.trimmed, self.known = self.missing + share, True, None

    def refine(self) -> bool:
        """Lists made anew; in double precision where single precision may be to blame."""
        if not self.on_target:
            return super().refine()
        self.search(LEFT_SHARE * self.list_tol)
        again, self.relisted = self.relisted, True
        if self.fast and (again or self.noisy(self.tol)):
            return self.in_double()
        if again:
            return super().refine()
        self.best, self.trial, self.known, self.stage = Best(), None, None, Stage.SWEEP
        self.passes = ListPasses(exact=not self.fast)
        return True

    def overlooked(self, certified: Measure) -> bool:
        """Where potentials have no limit on a list that lacks a pair, they drift until that pair carries much."""
        grown = certified.residual > OVERLOOKED * self.measure().residual
        if not grown or not self.on_target or self.lists >= MOST_LISTS or (self.fast and self.noisy(self.tol)):
            return False
        self.pruned.reading.mass = self.measure().mass / self.task.problem.mass  # not that of potentials that drifted
        self.relist(LEFT_SHARE * self.list_tol)
        self.best, self.trial, self.exhausted = Best(), None, False
        return True

    def too_coarse(self) -> bool:
        """True if the tolerance is met but for a gap that asks for a smaller residual than the list can have."""
        found = self.measure()
        return self.on_target and found.near(self.tol) and found.aim(self.tol) < GAP_SHORT * self.list_tol

    def tighten(self) -> None:
        """Lists for what the gap asks for, and certificates."""
        self.strictness = SPARE * self.measure().aim(self.tol) / self.tol
        self.pruned.reading.strictness = self.strictness
        self.relist(LEFT_SHARE * self.list_tol)
        self.best, self.trial = Best(), None

    def noisy(self, goal: float) -> bool:
        """True if single precision cannot tell whether the residual is so small, relative to the mass."""
        return goal < NOISY * self.pruned.single_rounding

    def in_double(self) -> bool:
        """Go on in double precision at this level."""
        self.fast = self.scratch = False
        self.passes = ListPasses(exact=True)
        self.best, self.trial, self.known, self.stage = Best(), None, None, Stage.SWEEP
        return True

    def restore(self, saved: tuple[Vector, ...]) -> None:
        if saved[0].size == self.alpha.size and saved[1].size == self.beta.size:  # of this level
            super().restore(saved)

    @property
    def remark(self) -> str:
        """Where lists do not pay."""
        share = self.pruned.share_read if self.on_target else 0.0
        if share <= MOST_PAIRS:
            return ""
        return f"; {share:.0%} of all pairs of points were read, so coarse to fine hardly pays"

    def leave(self) -> None:
        assert isinstance(self.target.plan, PrunedPlan)
        self.target.plan.read_all()

    def potentials(self) -> tuple[Vector, Vector]:
        """Of all points, whatever level they come from."""
        if self.on_target:
            return super().potentials()
        guess, last = guess_of(self.level, self), self.levels.level(self.levels.count - 1)
        after = guess.at(self.level, last)
        alpha, beta = self.target.alphas(after.f.values, after.g.values)
        assert isinstance(self.target.plan, PrunedPlan)
        self.target.plan.renew(alpha, beta, LEFT_SHARE * LIST_AT_MOST)
        return self.target.potentials(alpha, beta)

    def prepared(self) -> bool:
        """Do a part of what a descent needs; True once nothing is left."""
        if self.leaving is None:
            self.leaving = guess_of(self.level, self)
        elif self.following is None:
            spreads = self.leaving.f.spread, self.leaving.g.spread
            self.following = self.levels.level(self.number + 1, self.level, spreads)
        else:
            return True
        return False

    def descend(self) -> tuple[Vector, Vector]:
        """To the next level, which is prepared; return continued potentials for it."""
        here, now, following = self.level, self.leaving, self.following
        assert now is not None
        assert following is not None
        cells = here.cols.cells_of(following.cols)
        few = following.last and here.cols.size < FEWER * following.cols.size
        self.coarse = cells_of(self, cells) if few else None
        after, before = now.at(here, following), None if self.guess is None else self.guess.at(here, following)
        self.number, self.level, self.guess, self.leaving, self.following = (
            self.number + 1,
            following,
            after,
            None,
            None,
        )
        return after.continued(before, following.epsilon)
