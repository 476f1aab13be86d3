"""How a training loop counts: the updates of its epochs. Numbers in, numbers out; the standard library alone.

Where the numbers come from (a Trainer, a config) is asked elsewhere, so the rule can be tested without a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable

_LOOK_AHEAD = 1000  # epochs of a run without a known end whose lengths are counted one by one


def count_updates(
    *, batches: int | None, epochs: int | None, max_steps: int | None, accumulate: Callable[[int], int]
) -> tuple[int | None, tuple[int, ...]]:
    """Count the updates that a training loop will do, by the loop's own rule.

    An epoch of ``batches`` micro-batches does ``ceil(batches / accumulate(epoch))`` updates, because the last window
    steps even when it is partial; ``max_steps`` ends the run within an epoch. A run without a known end is looked at
    for 1000 epochs, so that a later change of accumulation counts.

    Args:
        batches: micro-batches in an epoch on one device; ``None`` when the loader has no length.
        epochs: epochs of the run; ``None`` when only ``max_steps`` ends it.
        max_steps: limit on updates; ``None`` when there is none.
        accumulate: epoch -> micro-batches in one update.

    Returns:
        The total number of updates (``None``: no known end) and the updates of each epoch (empty: unknown).

    Example:
        >>> count_updates(batches=7, epochs=3, max_steps=None, accumulate=lambda epoch: 2)
        (12, (4, 4, 4))
    """
    if batches is None:
        return max_steps, ()  # `max_steps` ends the run whatever the length of its epochs
    if batches == 0:
        return 0, ()

    def updates_in(epoch: int) -> int:
        # Lightning steps whenever a window is full and after the last batch of an epoch, so a window never reaches from
        # one epoch into the next: 7 batches in windows of 2 are 4 updates, and the fourth sees one batch.
        return math.ceil(batches / accumulate(epoch))

    if epochs is None and max_steps is not None:
        return max_steps, _epochs_until(max_steps, updates_in)
    per_epoch = tuple(updates_in(epoch) for epoch in range(_LOOK_AHEAD if epochs is None else epochs))
    if epochs is None:
        return None, per_epoch
    total = sum(per_epoch)
    # Whichever limit is reached first ends the run: with `max_steps=10` update 9 is its last.
    return (total if max_steps is None else min(total, max_steps)), per_epoch


def _epochs_until(end: int, updates_in: Callable[[int], int]) -> tuple[int, ...]:
    """Updates in each of as many epochs as ``end`` updates touch."""
    lengths: list[int] = []
    done = 0
    while done < end:
        lengths.append(updates_in(len(lengths)))
        done += lengths[-1]
    return tuple(lengths)  # the last epoch with its full length, though `end` may cut it: lengths in epochs need that
