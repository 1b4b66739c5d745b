"""What moving mass costs, and the operator by which solvers read it.

`base` has `Cost`, which users subclass, and the facts that solvers want to know of any cost. `dense` is a matrix,
`blocks` a cost that is computed a block at a time and never stored, `scan` the first look at either. `operator` says
how iterations read the plan of a cost: `dense_plan` by the fused kernels of a backend, `tiled_plan` by the same kernels
a strip of rows at a time, for any cost.
"""
