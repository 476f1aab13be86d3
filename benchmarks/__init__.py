"""Measurements, each a command: ratios of medians from interleaved repetitions in one run."""
