"""Failures of POT's tests that are expected, each with its reason: by design, not by oversight."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Expected:
    """Tests that fail, as a pattern like ``test_ot.py::test_emd*``, a piece of their error, and why they do."""

    tests: str
    error: str
    reason: str

    def explains(self, test: str, error: str) -> bool:
        """True where this is why the test failed; brackets of the pattern stand for themselves."""
        return fnmatchcase(test, self.tests.replace("[", "[[]")) and self.error in error


NO_ERROR, NO_WARNING = "DID NOT RAISE", "DID NOT WARN"
QUADRATIC = "a squared penalty on the plan is another problem than ours with its entropy: refused"

EXPECTED = (
    Expected("test_ot.py::test_warnings", "IndexError", "emd always ends with a proof; numItermax cuts nothing short"),
    Expected("test_bregman.py::test_nan_warning[*", NO_WARNING, "reg=0 is solved exactly, where POT warns of nan"),
    Expected("test_bregman.py::test_*bary*[jax-sinkhorn_log*", NO_ERROR, "works with JAX here, where POT raises"),
    Expected(
        "test_bregman.py::test_implemented_methods",
        NO_ERROR,
        "sinkhorn2 takes every name of a method, where POT refuses two of them",
    ),
    Expected(
        "test_partial.py::test_raise_errors",
        NO_ERROR,
        "partial_wasserstein_lagrange takes weights of any mass, where POT wants at most 1",
    ),
    Expected(
        "test_partial.py::test_entropic_partial_wasserstein_gradient",
        "has no derivatives here",
        "an entropic plan of a given mass has no derivatives: refused",
    ),
    Expected(
        "test_solvers.py::test_solve_sample_methods[*",
        "another problem or solver",
        "solvers of other problems than exact and entropic transport: refused, with what to call instead",
    ),
    Expected("test_solvers.py::test_solve_sample_bsp[*", "another problem or solver", "only POT has BSP-OT: refused"),
    Expected(
        "test_solvers.py::test_solve_sample_debias[*-split]",
        "debias is 'split'",
        "debiasing by a random split of the samples: refused",
    ),
    Expected(
        "unbalanced/test_sinkhorn.py::test_unbalanced_relaxation_parameters*inf]",
        "InfeasibleError",
        "no plan has two hard sides of unequal masses: refused, where POT returns what its last iteration left",
    ),
    Expected("unbalanced/test_lbfgs.py::*-l2-*", "reg is the strength of an entropy here", QUADRATIC),
    Expected("unbalanced/test_mm.py::*-l2]", "div='l2' makes reg a squared penalty", QUADRATIC),
    Expected(
        "unbalanced/test_mm.py::test_mm_convergence[*-l2]",
        "Not equal to tolerance",
        "the least objective moves 3e-5 off the exact plan, which is where POT begins and all but stays",
    ),
    Expected("gromov/test_fugw.py::*-l2-*", "makes epsilon a squared penalty", QUADRATIC),
    Expected("test_ucoot.py::*-l2*", "makes epsilon a squared penalty", QUADRATIC),
    Expected(
        "test_ucoot.py::test_sanity[*-l2]",
        "Not equal to tolerance",
        "the objective is within 1e-8 of the least, which is 0 here, and the plan of squares 3e-5 off",
    ),
    Expected(
        "gromov/test_fugw.py::test_fused_unbalanced_across_spaces_divergence_warning[*",
        "ValueError not raised",
        "penalties of 1e6 are solved, where POT is left with nan",
    ),
    Expected(
        "gromov/test_gw.py::test_*_integer_warnings[*",
        "Not equal to tolerance",
        "integer costs give a plan in float64, where POT rounds the plan to integers, which are 0",
    ),
)
