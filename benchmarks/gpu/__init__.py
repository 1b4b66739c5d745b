"""Tests and measurements of the GPU backend on a machine with a CUDA device: `python -m benchmarks.gpu`."""
