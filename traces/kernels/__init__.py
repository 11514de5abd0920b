"""Kernels beside their code: where they are kept once compiled, and who is told while they are."""
