"""Barycenters: K transports to one unknown marginal.

A row update of each measure is a sweep of its own plan that leaves the columns alone (`PlanOperator.sweep` with omega
(w, 0)); it brings along the logarithms of the column sums. The update of the columns is O(K m):

    log b = sum_k w_k log c_k,   beta_k <- beta_k + omega (log b - log c_k),

which keeps sum_k w_k beta_k = 0 (Benamou, Carlier, Cuturi, Nenna, Peyré 2015). Both are exact maximisations of the dual
over one block of its variables; so over-relaxation of both is as fast, and as safe, as for one transport.

`iterate` has the vectors and these updates, `method` the loop.
"""
