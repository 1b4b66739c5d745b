"""GeomLoss on torch in float64."""

import math
from typing import Any

from ..problems import Array, Problem
from ..solvers import Answer, Run


def sinkhorn(problem: Problem, max_iter: int, shrink: float = 0.9) -> Run:
    """The dense solver, annealed: epsilon shrinks by a factor an iteration, then stays.

    It has no stopping test, so the threshold sets the number of iterations at the final epsilon: 50 at 1e-6, and
    inversely to it. Its public ``ot.solve`` spreads the annealing over all iterations, whose error falls like
    1/iterations only (3e-4 after 2000 at n = 300, epsilon = 0.01 max C), so the pieces it is made of are called.
    """
    import torch
    from geomloss._typing import CostMatrices
    from geomloss.ot._abstract_solvers import annealing_parameters, sinkhorn_loop
    from geomloss.ot._implementations.matrix import softmin_dense

    if problem.rho_rows != problem.rho_cols:
        raise ValueError("GeomLoss has one rho for both sides")
    cost, a, b = (torch.from_numpy(x)[None] for x in (problem.cost, problem.a, problem.b))
    costs = CostMatrices(xy=cost, yx=cost.transpose(1, 2).contiguous())
    span = float(problem.cost.max() - problem.cost.min())
    annealing = math.ceil(math.log(max(span / problem.epsilon, 1.0)) / -math.log(shrink))

    def solve(iterations: int) -> Any:
        return sinkhorn_loop(
            softmin=softmin_dense,
            log_a_list=[a.log()],
            log_b_list=[b.log()],
            C_list=[costs],
            descent=annealing_parameters(
                maxmin_cost=span,
                eps=problem.epsilon,
                rho=None if problem.balanced else problem.rho_rows,
                n_iter=iterations,
                scaling=shrink,
            ),
            debias=False,
            last_extrapolation=True,
        )

    def run(threshold: float | None) -> Answer:
        iterations = max_iter if threshold is None else min(annealing + math.ceil(50e-6 / threshold), max_iter)
        found = solve(iterations)

        def plan() -> Array:
            exponent = (found.f_ba[0, :, None] + found.g_ab[0, None] - cost[0]) / problem.epsilon
            dense: Array = (a[0, :, None] * b * exponent.exp_()).numpy()
            return dense

        return Answer(plan, iterations, True)

    solve(1)
    return run


def divergence(x: Array, y: Array, blur: float, backend: str) -> tuple[float, Array]:
    """`SamplesLoss` as users call it, and its gradient in x; costs are half squared distances, epsilon is blur^2."""
    import torch
    from geomloss import SamplesLoss

    points = torch.from_numpy(x).requires_grad_()
    value = SamplesLoss("sinkhorn", p=2, blur=blur, backend=backend)(points, torch.from_numpy(y))
    (gradient,) = torch.autograd.grad(value, points)
    return value.item(), gradient.numpy()


def potentials(
    x: Array, y: Array, epsilon: float, threshold: float, backend: str, scaling: float
) -> tuple[Array, Array]:
    """Potentials between points, over epsilon with respect to the counting reference, in single precision.

    It has no test, so that the threshold says nothing: `scaling`, the factor from one blur to the next, sets how many
    iterations there are. Costs are half squared distances, and so is epsilon.
    """
    import torch
    from geomloss import SamplesLoss

    points = [torch.from_numpy(z.astype("float32")) for z in (x, y)]
    blur = math.sqrt(0.5 * epsilon)
    loss = SamplesLoss("sinkhorn", p=2, blur=blur, scaling=scaling, debias=False, potentials=True, backend=backend)
    with torch.no_grad():
        found = loss(*points)
    f, g = (z.double().numpy().ravel() / blur**2 - math.log(z.numel()) for z in found)
    return f, g
