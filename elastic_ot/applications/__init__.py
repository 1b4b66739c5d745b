"""The systems the solver is for: attention, sorting, routing, matching, distillation.

Each is a thin function on arrays of NumPy, CuPy, torch or JAX, whose normalisation is a call of the solver. Shapes are
(..., n, d) for sequences and (..., heads, n, n) for scores.
"""
