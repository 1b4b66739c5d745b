"""Comparisons of elastic_ot with its peers: `python -m benchmarks.NAME` from the root of the repository (README.md)."""
