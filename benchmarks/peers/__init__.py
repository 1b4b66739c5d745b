"""How each peer is called: POT, OTT-JAX, GeomLoss and RegOT for entropic problems; SciPy, lapx and POT for assignment.

Entropic problems: all are given the minimisation of <C, P> + epsilon KL(P | a b^T), each marginal hard or with
rho KL(marginal | weights). With hard marginals the reference of the KL term changes the value but not the plan, so
POT's and RegOT's <P, log P> has the same answer. With KL marginals POT is asked for the product reference
(``reg_type="kl"``), OTT is given a cost that turns its counting measure into it, and GeomLoss has it. What
``threshold`` stands for is each peer's own test, named with it.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
for library in ("JAX", "PYTORCH", "CUPY", "TENSORFLOW"):  # POT imports all that are installed, for seconds
    os.environ.setdefault(f"POT_BACKEND_DISABLE_{library}", "1")
