"""Compiled by Numba, for matrices in the memory of the host.

`dense` has the primitives of one problem, `batch` those of many at once and `batch_derivatives` their derivatives.
`graph`, `paths` and `simplex` are the exact limit's: the cells it works on, shortest paths and the network simplex.

Nothing is imported here, so that loading one of them does not compile another.
"""
