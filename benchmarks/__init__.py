"""Measurements: the same work in our code and in PyTorch (`python -m benchmarks`), and single questions beside it."""
