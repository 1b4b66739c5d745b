"""The solver that benchopt's optimal-transport benchmark runs; README.md says how."""

from typing import Any, ClassVar

from benchopt import BaseSolver

import elastic_ot as eot


class Solver(BaseSolver):  # type: ignore[misc]
    """Exact transport (reg=0) or entropic transport, of points under plain distances."""

    name = "elastic_ot"
    requirements: ClassVar[list[str]] = ["pip::elastic-ot"]
    parameters: ClassVar[dict[str, list[float]]] = {"reg": [0, 1e-2, 1e-1]}
    sampling_strategy = "tolerance"
    reg: float
    found: eot.ExactSolution | eot.Solution

    def set_objective(self, x: Any, a: Any, y: Any, b: Any) -> None:
        self.cloud, self.a, self.b = eot.PointCloud(x, y, metric="euclidean"), a, b

    def warm_up(self) -> None:
        """Compile, so that no figure contains it."""
        self.run(1e-1)

    def run(self, tol: float) -> None:
        if self.reg == 0:
            self.found = eot.exact(self.cloud, self.a, self.b)
        else:
            self.found = eot.solve(self.cloud, self.a, self.b, epsilon=self.reg, tol=max(tol, 1e-12))

    def get_result(self) -> dict[str, Any]:
        plan = self.found.plan
        return {"P": plan.toarray() if hasattr(plan, "toarray") else plan}
