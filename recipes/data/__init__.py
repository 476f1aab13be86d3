"""Data sets: each a module, all on `seeded.SeededData`."""
