"""POT's calls on the solvers of elastic_ot: ``import elastic_ot.compat.pot as ot``.

Names, arguments, results and dictionaries are those of POT, and so are its submodules `lp`, `bregman`, `unbalanced`,
`partial`, `gromov`, `solvers` and `utils`, as far as they concern exact and entropic transport, barycenters on a given
support, partial transport and Gromov-Wasserstein. Arrays of NumPy, PyTorch and JAX go in and come out; plans and values
are differentiable by the implicit function theorem, no iterations are stored for it.

An argument that has no meaning here is ignored where it steers POT's own loops only, as its docstring says, and
otherwise refused with an error that says what to do instead. ``log["solution"]`` is our result with its certificate.

How POT's problems are ours:

* Balanced, ``reg`` is `epsilon`. The plan does not depend on the reference. POT's kernel is exp(-M / reg) and its plan
  u K v, so that log u = f / reg + log a with our potentials of the reference a b^T, up to a constant that passes from u
  to v. ``sinkhorn2`` returns <M, P>; ``solve(...).value`` is <M, P> + reg sum P log(P / (a b^T)).
* Relaxed, ``reg_m`` is the strength rho of `KL` (`L2`, a half square, and `TV` by ``lbfgsb_unbalanced`` and ``solve``).
  ``reg_type="kl"`` has the entropy KL(P | a b^T), our reference "product", or KL(P | c); ``"entropy"`` has KL(P | 1),
  our "counting". The kernel holds c, so that log u = f / reg.
* Total costs of relaxed problems are the objective that is minimised, with ``sum(q) - sum(p)`` in every KL(p | q).
  POT's ``sinkhorn_unbalanced`` leaves these out of the value that it returns; add them to compare.
* Thresholds are for the L1 error of the marginals relative to the mass, on the returned potentials; POT takes an L2
  norm, or the change of its scalings, which can be small far from the solution. A solve that does not arrive warns with
  a `ConvergenceWarning`, a UserWarning.
* ``emd`` always ends with a proof of optimality: `numItermax` is ignored.

Examples
--------
>>> import numpy as np
>>> import elastic_ot.compat.pot as ot
>>> x, y = np.linspace(0.0, 1.0, 4)[:, None], np.linspace(0.2, 1.2, 3)[:, None]
>>> M = ot.dist(x, y)
>>> plan, log = ot.sinkhorn(ot.unif(4), ot.unif(3), M, reg=0.1, log=True)
>>> plan.sum(axis=1).round(6), log["solution"].converged
(array([0.25, 0.25, 0.25, 0.25]), True)
"""

from __future__ import annotations

from . import bregman, gromov, lp, partial, solvers, unbalanced, utils
from .bregman import barycenter, sinkhorn, sinkhorn2
from .gromov import fused_gromov_wasserstein, fused_gromov_wasserstein2, gromov_wasserstein, gromov_wasserstein2
from .lp import emd, emd2
from .solvers import OTResult, solve, solve_gromov, solve_sample
from .unbalanced import sinkhorn_unbalanced, sinkhorn_unbalanced2
from .utils import dist, unif

__all__ = [
    "OTResult",
    "barycenter",
    "bregman",
    "dist",
    "emd",
    "emd2",
    "fused_gromov_wasserstein",
    "fused_gromov_wasserstein2",
    "gromov",
    "gromov_wasserstein",
    "gromov_wasserstein2",
    "lp",
    "partial",
    "sinkhorn",
    "sinkhorn2",
    "sinkhorn_unbalanced",
    "sinkhorn_unbalanced2",
    "solve",
    "solve_gromov",
    "solve_sample",
    "solvers",
    "unbalanced",
    "unif",
    "utils",
]
