"""On how many threads torch computes: a small network on one.

Its operations are so short that threads wait for each other longer than they compute, and where other programs want the
cores too, many times as long: `docs/speed.md`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.nn import Module

SMALL = 1_000_000  # parameters, up to which a network is small
# What torch, and every process that is started from here, reads the number from.
_GIVEN = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def check_threads(threads: int | str | None) -> None:
    """Refuse a number of threads that cannot be.

    Raises:
        ValueError: it is below 1, or there are fewer cores.
    """
    cores = os.cpu_count() or 1
    if isinstance(threads, int) and not 1 <= threads <= cores:
        raise ValueError(
            f"threads={threads}: must be from 1 to {cores}, the cores of this machine; or auto, or null for torch's "
            "own choice"
        )


@contextmanager
def on_threads(threads: int | str | None, model: Module) -> Iterator[None]:
    """Compute on so many threads while this lasts.

    Args:
        threads: a number; ``None`` leaves it to torch; ``"auto"`` is 1 for a small network and else leaves it, and does
            so too where the environment (``OMP_NUM_THREADS``) gives a number.
        model: what is trained.
    """
    import torch

    if threads == "auto":
        small = sum(parameter.numel() for parameter in model.parameters()) <= SMALL
        threads = 1 if small and not any(name in os.environ for name in _GIVEN) else None
    if not isinstance(threads, int):
        yield
        return
    before, given = torch.get_num_threads(), {name: os.environ.get(name) for name in _GIVEN[:1]}
    torch.set_num_threads(threads)
    # Of several processes that train together, Lightning gives each its share of the cores, if no number is there.
    os.environ[_GIVEN[0]] = str(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        os.environ.pop(_GIVEN[0])
        os.environ.update({name: value for name, value in given.items() if value is not None})
