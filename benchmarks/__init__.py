"""Measures the promises in `budgets.toml`. Run `python -m benchmarks`."""
