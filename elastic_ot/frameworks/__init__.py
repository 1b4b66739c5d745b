"""Differentiable operators for PyTorch and JAX on stateless calls of the host."""
