"""Compiled by Numba, for matrices in the memory of the host.

`dense` has the primitives of one problem, `batch` those of many at once and `batch_derivatives` their derivatives.
`graph`, `paths` and `simplex` are the exact limit's: the cells it works on, shortest paths and the network simplex.
`dense_simplex` and `dense_paths` work on all cells of small problems.
`threads` and `openmp` say how many threads they run on, and `compiling` announces what is compiled.

None of the kernels is imported here, so that loading some does not compile others.
"""

from . import compiling as compiling
