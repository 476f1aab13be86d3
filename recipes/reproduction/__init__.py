"""Reproduces the table of settings and schedules: `python -m recipes.reproduction --help`."""
