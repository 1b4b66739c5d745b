"""Newton's method on the dual, with the rows eliminated, along an annealed path.

After a sweep the rows are exact given beta, so the dual is a concave function of beta alone. Its Hessian is minus

    S = D_c + K_b - P^T (D_r + K_a)^-1 P,

with D the marginals, K the curvature of the penalties (`Penalty.smooth`) and entries on a kink left out. The step x
solves S x = (D_c + K_b) s, where s is the change of beta in one exact update of the columns. To first order the right
side is the gradient; but where columns are far from their weights s is a logarithm, as Sinkhorn's step is, and the step
stays sound: it is the sum of all the sweeps that would follow, linearised.

Levels are followed as in `annealing`, with Newton steps where sweeps do not reach the level's tolerance. So every solve
starts where the masses that flow between weakly linked clusters are right to a factor of order one, which is what
decides between quadratic convergence and none (Brauer, Clason, Lorenz, Wirth 2017; Tang, Shavlovsky et al. 2024).

`stages` says what an iteration is and which one comes next, `step` makes a Newton step and judges it, `state` holds
what changes, `best` the best iterate.
"""

from .method import Newton

__all__ = ["Newton"]

Newton.__module__ = __name__  # its public home, where pickles find it
