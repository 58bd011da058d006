"""Measured figures: `python -m benchmarks`, everything compared side by side in one run."""
