"""How a training loop counts: the updates of its epochs. Numbers in, numbers out; the standard library alone.

Where the numbers come from (a Trainer, a config) is asked elsewhere, so the rule can be tested without a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, pairwise
from typing import Any, NamedTuple

from lr_recipes import checks
from lr_recipes.plan.curve import FOREVER
from lr_recipes.plan.epochs import Epochs
from lr_recipes.plan.horizon import Horizon

# What Lightning takes, with a warning that is easily missed, when neither max_epochs nor max_steps is given.
_DEFAULT_EPOCHS = 1000
_LOOK_AHEAD = 1000  # epochs of a run without a known end that are looked at, where no later change is known


class Start(NamedTuple):
    """Where in a run position 0 of a schedule lies: at its start, or where a new schedule was begun.

    Attributes:
        epoch: the epoch.
        updates: updates that the loop had counted by then.
        in_epoch: of these, those of this epoch.
    """

    epoch: int = 0
    updates: int = 0
    in_epoch: int = 0


class Limits(NamedTuple):
    """What a training loop goes by, as plain numbers, wherever they were read; a horizon follows from them.

    Attributes:
        batches: micro-batches in an epoch on one device; ``None`` when the loader has no length.
        epochs: epochs of the run; ``None`` when only ``max_steps`` ends it.
        max_steps: limit on updates; ``None`` when there is none.
        accumulate: epoch -> micro-batches in one update.
        devices: processes that train together.
        batch_size: samples in a micro-batch on one device; ``None`` when the loader does not say.
        automatic: whether the loop decides when an optimizer steps; else only the module knows, and nothing is counted.
        lengths: epoch -> its updates, where they are known to be others than ``batches`` says.
        reload_every: epochs after which the loader is made anew, and may have another length; 0 for never.
        start: where position 0 lies.
        changes: epochs at which ``accumulate`` may give another number than for the epoch before; ``None`` where that
            is not known, and each epoch is asked for.
        tokens_per_sample: tokens in a sample; ``None`` when the data do not say.

    Example:
        >>> Limits(batches=7, epochs=3, max_steps=None, accumulate=lambda epoch: 2).horizon().source
        '3 epochs of 4 updates'
    """

    batches: int | None
    epochs: int | None
    max_steps: int | None
    accumulate: Callable[[int], int]
    devices: int = 1
    batch_size: int | None = None
    automatic: bool = True
    lengths: Mapping[int, int] = {}
    reload_every: int = 0
    start: Start = Start()
    changes: Iterable[int] | None = None
    tokens_per_sample: float | None = None

    def updates_in(self, epoch: int) -> int | None:
        """Return the updates of an epoch; ``None`` when the loader has no length."""
        if self.batches is None:
            return self.lengths.get(epoch)
        return self.lengths.get(epoch) or updates_of(self.batches, self.accumulate(epoch))

    def horizon(self, total_steps: int | str | None = None, **given: Any) -> Horizon:
        """Return the horizon of the run.

        Args:
            total_steps: the total, where it is given and not to be counted.
            given: other facts that are given, such as ``tokens_per_sample``; what is ``None`` is the loop's.

        Raises:
            HorizonError: the total is given in a unit that needs a fact which nobody knows.
        """
        facts = {"tokens_per_sample": self.tokens_per_sample} | {k: v for k, v in given.items() if v is not None}
        if not self.automatic:
            return self._uncounted(total_steps, facts)
        counted, per_epoch = count_updates(
            batches=self.batches,
            epochs=self.epochs,
            max_steps=self.max_steps,
            accumulate=self.accumulate,
            lengths=self.lengths,
            changes=self.changes,
        )
        source = self._in_words(counted, per_epoch)
        # Lightning puts its default in the place of what was not given, so one cannot tell it from a choice.
        if total_steps is None and self.epochs == _DEFAULT_EPOCHS and self.max_steps is None:
            counted, source = None, _default_epochs(counted)
        if total_steps is None and self._may_change():
            counted, source = None, self._reloads(counted)
        if self.start.updates:
            counted = None if counted is None else counted - self.start.updates
            per_epoch, source = self._from_start(per_epoch), f"{source}, from update {self.start.updates:,} on"
        if total_steps is not None:
            source = f"total_steps={total_steps} was given; the Trainer: {source}"
        tokens = self.tokens_per_sample
        if tokens is not None and facts["tokens_per_sample"] != tokens:
            source = f"{source}; tokens_per_sample={facts['tokens_per_sample']} was given, and the data say {tokens}"
        counts = {"steps_per_epoch": per_epoch or None, "samples_per_step": self._samples_per_step(len(per_epoch) or 1)}
        # A run of 0 updates ends before anybody asks.
        return Horizon(total_steps=total_steps or counted or None, source=source, **{**counts, **facts})

    def _may_change(self) -> bool:
        """Whether a total that follows from the length of this epoch may not be that of the run."""
        return self.epochs is not None and 0 < self.reload_every < self.epochs

    def _reloads(self, counted: int | None) -> str:
        """Why a run whose loader is made anew has no known end, and how to say that its length stays."""
        every = "every epoch" if self.reload_every == 1 else f"every {self.reload_every} epochs"
        why = f"the loader is made anew {every}, and later epochs may have another length"
        return (
            why if counted is None else f"{why}; if each keeps its {self.batches:,} batches, the total is {counted:,}"
        )

    def _from_start(self, per_epoch: Epochs) -> Epochs:
        """Updates in each epoch from position 0 on: what is left of the first, and those after it."""
        epoch, count = self.start.epoch, len(per_epoch)
        left = per_epoch[epoch] - self.start.in_epoch if epoch < count else 0
        return Epochs([(1 if left > 0 else 0, left), *per_epoch.between(epoch + 1, count).runs])

    def _uncounted(self, total_steps: int | str | None, facts: dict[str, Any]) -> Horizon:
        """In manual optimization only the module knows when an optimizer steps."""
        if total_steps is None:
            source = "manual optimization: the module decides when an optimizer steps"
            return Horizon(source=source, **facts)
        horizon = Horizon(total_steps=total_steps, source=f"total_steps={total_steps} was given", **facts)
        total, epochs = horizon.need_total("the run"), max((self.epochs or 0) - self.start.epoch, 0)
        even = epochs > 0 and total % epochs == 0 and "steps_per_epoch" not in facts
        return replace(horizon, steps_per_epoch=total // epochs) if even else horizon

    def _in_words(self, counted: int | None, per_epoch: Epochs) -> str:
        """Where the total came from, in words."""
        if self.batches is None:
            return f"max_steps={self.max_steps}" if self.max_steps is not None else "the loader has no length"
        if self.batches == 0:
            return "no batch in an epoch"
        if counted is None:
            return f"{self.batches:,} batches an epoch, but neither max_epochs nor max_steps ends the run"
        if self.epochs is None or (self.max_steps is not None and counted < per_epoch.updates):
            return f"max_steps={self.max_steps}"
        epochs = checks.counted(self.epochs, "epoch")
        lengths = [updates for _, updates in per_epoch.runs]
        if len(lengths) == 1:
            return f"{epochs} of {checks.counted(lengths[0], 'update')}"
        return f"{epochs} of {min(lengths, default=0):,} to {max(lengths, default=0):,} updates"

    def _samples_per_step(self, epochs: int) -> int | None:
        """Samples in one full update, over all devices; ``None`` where the loader does not say or epochs differ."""
        first = self.start.epoch
        windows = {self.accumulate(epoch) for epoch in _changes_in(first, first + epochs, self.changes)}
        if self.batch_size is None or len(windows) != 1:
            return None
        return self.batch_size * windows.pop() * self.devices


def _default_epochs(counted: int | None) -> str:
    """Why a run of so many epochs has no known end, and how to say that they are meant."""
    meant = "" if counted is None else f"; if 1000 epochs are meant, give max_steps={counted}"
    return f"max_epochs is 1000, which is also what Lightning takes when nothing ends the run{meant}"


def count_updates(
    *,
    batches: int | None,
    epochs: int | None,
    max_steps: int | None,
    accumulate: Callable[[int], int],
    lengths: Mapping[int, int] | None = None,
    changes: Iterable[int] | None = None,
) -> tuple[int | None, Epochs]:
    """Count the updates that a training loop will do, by the loop's own rule.

    An epoch of ``batches`` micro-batches does ``ceil(batches / accumulate(epoch))`` updates, because the last window
    steps even when it is partial; ``max_steps`` ends the run within an epoch. A run without a known end is looked at
    for 1000 epochs, or as far as there are changes, so that a later change of accumulation counts.

    Args:
        batches: micro-batches in an epoch on one device; ``None`` when the loader has no length.
        epochs: epochs of the run; ``None`` when only ``max_steps`` ends it.
        max_steps: limit on updates; ``None`` when there is none.
        accumulate: epoch -> micro-batches in one update.
        lengths: epoch -> its updates, where they are known to be others.
        changes: as in ``Limits``: what is known of them is all that the epochs in between cost.

    Returns:
        The total number of updates (``None``: no known end) and the updates of each epoch (empty: unknown).

    Example:
        >>> count_updates(batches=7, epochs=3, max_steps=None, accumulate=lambda epoch: 2)
        (12, (4, 4, 4))
    """
    if batches is None:
        return max_steps, Epochs([])  # `max_steps` ends the run whatever the length of its epochs
    if batches == 0:
        return 0, Epochs([])

    known = lengths or {}

    def updates_in(epoch: int) -> int:
        return known.get(epoch) or updates_of(batches, accumulate(epoch))

    # An epoch whose length is known may differ from the one before it, and the next one from it.
    changing = None if changes is None else {*changes, *known, *(epoch + 1 for epoch in known)}
    if epochs is None and max_steps is not None:
        return max_steps, Epochs(_until(max_steps, _runs(FOREVER, changing, updates_in)))
    if epochs is None:
        return None, Epochs(_runs(max([_LOOK_AHEAD, *(epoch + 1 for epoch in changing or ())]), changing, updates_in))
    per_epoch = Epochs(_runs(min(epochs, FOREVER), changing, updates_in))
    # Whichever limit is reached first ends the run: with `max_steps=10` update 9 is its last.
    return (per_epoch.updates if max_steps is None else min(per_epoch.updates, max_steps)), per_epoch


def updates_of(batches: int, accumulate: int) -> int:
    """Return the updates in an epoch of so many batches.

    A loop steps whenever a window is full and after the last batch of an epoch, so a window never reaches from one
    epoch into the next.

    Example:
        >>> updates_of(7, accumulate=2)
        4
    """
    return math.ceil(batches / accumulate)


def _runs(epochs: int, changes: Iterable[int] | None, updates_in: Callable[[int], int]) -> Iterator[tuple[int, int]]:
    """Runs of equal epochs: how many there are, and the updates of each."""
    for first, after in pairwise(chain(_changes_in(0, epochs, changes), [epochs])):
        yield after - first, updates_in(first)


def _changes_in(first: int, after: int, changes: Iterable[int] | None) -> Iterable[int]:
    """Epochs from ``first`` on: that one, and those that may differ from the one before; all where that is unknown."""
    if changes is None:
        return range(first, after)
    return sorted({first, *(epoch for epoch in changes if first < epoch < after)})


def _until(end: int, runs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Of runs of equal epochs as many epochs as ``end`` updates touch."""
    for count, updates in runs:
        # The last epoch with its full length, though `end` may cut it: lengths in epochs need that.
        touched = min(count, -(-end // updates))
        yield touched, updates
        end -= touched * updates
        if end <= 0:
            return


# What Lightning makes of the arguments of a Trainer


def ends_of(
    max_epochs: int | None, max_steps: int, fast_dev_run: bool | int = False, timed: bool = False
) -> tuple[int | None, int | None]:
    """Return the epochs and the limit on updates of a run, by Lightning's rule; ``None`` where there is no such limit.

    Args:
        max_epochs: as the Trainer takes it: -1 for no limit; without one, 1000 where nothing else ends the run.
        max_steps: as the Trainer takes it: -1 for no limit.
        fast_dev_run: one epoch of so many updates, whatever else is set.
        timed: whether a time ends the run.

    Raises:
        ValueError: a limit is below -1.

    Example:
        >>> ends_of(max_epochs=20, max_steps=-1), ends_of(20, -1, fast_dev_run=True), ends_of(None, -1)
        ((20, None), (1, 1), (1000, None))
    """
    for name, value in {"max_epochs": max_epochs, "max_steps": max_steps}.items():
        if value is not None and not checks.is_whole(value, least=-1):
            raise ValueError(f"{name}={checks.brief(value)}: must be a whole number, or -1 for no limit")
    if fast_dev_run:
        return 1, int(fast_dev_run)
    if max_epochs is None:  # the same for a time or a number of steps: they end the run, whatever the epoch
        max_epochs = -1 if timed or max_steps >= 0 else _DEFAULT_EPOCHS
    return (None if max_epochs < 0 else max_epochs), (None if max_steps < 0 else max_steps)


def limit_of(
    limit_train_batches: float | None, overfit_batches: float = 0.0, fast_dev_run: bool | int = False
) -> float | None:
    """Return what limits the batches of an epoch, by Lightning's rule: a number (``int``), a share or nothing.

    ``overfit_batches`` goes before ``fast_dev_run``, and that before ``limit_train_batches``.

    Raises:
        ValueError: an argument is negative, or neither whole nor a share.
    """
    given = {"limit_train_batches": limit_train_batches, "overfit_batches": overfit_batches}
    for name, value in given.items():
        if value is not None and not (0 <= value <= 1 or (value > 1 and value % 1 == 0)):
            raise ValueError(f"{name}={value!r}: must be a whole number of batches, or a share of them from 0.0 to 1.0")
    if fast_dev_run < 0:
        raise ValueError(f"fast_dev_run={fast_dev_run!r}: must be true, false or a number of batches")
    if overfit_batches > 0:
        return overfit_batches
    if fast_dev_run:
        return int(fast_dev_run)
    whole = limit_train_batches is not None and limit_train_batches > 1  # Lightning takes 5.0 for 5 batches
    return int(limit_train_batches or 0) if whole else limit_train_batches


def limited(batches: int | None, limit: float | None) -> int | None:
    """Return how many of a loader's batches an epoch takes.

    Args:
        batches: of the loader; ``None`` when it has no length.
        limit: as `limit_of` returns it. Where a number is meant it is an ``int``: 1 is one batch, and 1.0 all of them.

    Raises:
        ValueError: a share is too small for one batch, or there is no length that it could be a share of.

    Example:
        >>> limited(39, 7), limited(39, 0.25), limited(39, None), limited(None, 7)
        (7, 9, 39, 7)
    """
    if limit is None or (limit == 1.0 and isinstance(limit, float)):
        return batches
    if isinstance(limit, int):
        return limit if batches is None else min(batches, limit)
    if batches is None:
        raise ValueError(f"limit_train_batches={limit!r} is a share, and the loader has no length: give a whole number")
    taken = min(int(batches * limit), batches)
    if taken == 0 < batches * limit:
        raise ValueError(
            f"limit_train_batches={limit!r} of {batches:,} batches is less than one: give a larger share, or a whole "
            "number of batches"
        )
    return taken


def batches_on_each(samples: int, devices: int, batch_size: int, drop_last: bool) -> int:
    """Return how many batches each process makes of its share of the samples.

    All shares are equally long: the samples are dealt out in turn, and some of them twice where they do not suffice.

    Args:
        samples: in an epoch, over all devices.
        devices: processes that train together.
        batch_size: samples in a batch on one device.
        drop_last: whether a last batch that is not full is left out.

    Example:
        >>> batches_on_each(50, devices=2, batch_size=8, drop_last=False)
        4
    """
    # torch's DistributedSampler, as Lightning makes it: it pads to equal shares, so no process waits for another.
    share = math.ceil(samples / devices)
    return share // batch_size if drop_last else math.ceil(share / batch_size)
