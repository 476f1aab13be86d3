"""Plays the ticks of a run ahead on a stage, and notes what each update would use.

The order within a batch is Lightning's: the update, the ticks of the step, at the epoch's last batch those of the
epoch, the validation, the plateaus of the step; then, when the epoch's hooks are done, the plateaus of the epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch

from lr_recipes.callbacks.fit import accumulation_of
from lr_recipes.callbacks.lightning import LightningModule, Trainer, averaging_of
from lr_recipes.callbacks.stage import Stage, Unknowable
from lr_recipes.optimizer.groups import group_names, read_lrs, write_number
from lr_recipes.plan.series import Series

_MOST_LRS = 4_000_000  # LRs that are kept of a run: 32 MB


class Rehearsal:
    """One run, played on a stage of its own.

    Args:
        trainer: whose run it is.
        module: trained by it.
        optimizers: as ``configure_optimizers`` returned them.
        configs: what Lightning knows of the schedulers that are to be ticked.
        metric: what plateaus are told: a value that is better with each of their ``"decisions"``, with each of the
            ``"validations"``, or never.
        begun: whether the first batch has begun already.
        lrs: what the schedulers begin with, by group, where the groups hold something else.
        validated: names of the metrics that only a validation logs.

    Attributes:
        series: what the updates use; those past the end of the run are in ``onward``.
        ticks: after how many updates each scheduler was ticked.
        total: updates of the run, once it has been played to its end.
        error: what the run would be stopped by, if it is not known to go on.
        unknown: why nothing more is known, in words.
        told: at each tick of each scheduler, the epoch and what it was given to step to.
        validations: how many there have been.
        validated: at each tick of each scheduler, how many validations there had been.
        epochs: how many have been played to their end.
        first_epoch_ends: updates when the first of them ended.
        reads_epoch: whether a scheduler asks for the present epoch.
        replaced: the update from which on a callback's scheduler has the place of another one.

    Raises:
        CannotCopy: a scheduler holds something that cannot be copied.
    """

    def __init__(
        self,
        trainer: Trainer,
        module: LightningModule,
        optimizers: Any,
        configs: Any,
        metric: str = "decisions",
        begun: bool = True,
        lrs: Sequence[Any] | None = None,
        validated: Collection[str] = (),
    ) -> None:
        self.stage = Stage(trainer, module, begun)
        self.stage.cast(optimizers, configs)
        for group, lr in zip(self.stage.optimizers[0].param_groups, lrs or (), strict=False):
            write_number(group, "lr", lr)
        self._metric, self._validated = metric, validated
        self._values: dict[int, float] = {}
        self.first = self.stage.steps
        names = group_names(optimizers[0])
        self.series, self.onward = Series(names, self.first), Series(names)
        self.ticks: list[list[int]] = [[] for _ in configs]
        self.told: list[list[tuple[int, Any]]] = [[] for _ in configs]
        self.total: int | None = None
        self.error: Exception | None = None
        self.unknown = ""
        self.validations = self.validations_in_run = 0
        self.validated: list[list[int]] = [[] for _ in configs]
        self.epochs = 0
        self.first_epoch_ends = self.first
        self.replaced: int | None = None
        self.reads_epoch = False
        self._accumulation = accumulation_of(trainer)
        self._averaging = averaging_of(trainer)
        for number, config in enumerate(self.stage.configs):
            self._watch(number, config.scheduler)
        self._batches = trainer.num_training_batches
        self._run = self._played()

    @property
    def done(self) -> int:
        """Updates that were played, and those before."""
        return self.series.end if self.total is None else self.onward.end

    @property
    def goes_on(self) -> bool:
        """Whether there is more to play."""
        return self.error is None and not self.unknown

    @property
    def has_turned(self) -> bool:
        """Whether the LR has come to hold, or has turned, past the end of the run."""
        lrs = self.onward.lrs[self.series.leader]
        last = self.series.lrs[self.series.leader][-1]
        steps = [after - before for before, after in pairwise([last, *lrs])]
        turns = any(step * (steps[0] or step) < 0 for step in steps) or any(lr <= 0 < last for lr in lrs)
        held = self.onward.end - (self.onward.firsts[-1] if lrs else self.onward.end)
        return turns or held > 4 * max(len(self.series) // max(len(self.series.firsts), 1), 1) + 4

    def play(self, updates: int | None = None, until: float | None = None) -> None:
        """Play on.

        Args:
            updates: to this one at most, the first that is not played; by default to the end of the run.
            until: and no longer than to this time of ``time.monotonic``.
        """
        for count, _ in enumerate(self._run):
            if len(self.series.firsts) * len(self.series.names) > _MOST_LRS:
                self.unknown = f"of {len(self.series.names):,} groups no more LRs are kept"
                return
            if (self.done >= updates) if updates is not None else (self.total is not None):
                return
            if until is not None and count % 16 == 0 and time.monotonic() > until:
                return

    # What is played

    def _played(self) -> Iterator[None]:
        try:
            yield from self._epochs()
        except Unknowable as error:
            self.unknown = f"it asks for {error}, which is not known before training"
        except Exception as error:
            self.error = error

    def _epochs(self) -> Iterator[None]:
        stage = self.stage
        while True:
            if stage.over:
                self._end()
                yield
            if stage.begins or not stage.resumes:
                stage.begin_epoch(self._accumulation(stage.epoch))
                self._let_averaging_begin()
            if not (stage.resumes and stage.only_validates):
                yield from self._epoch()
            stage.processed_epoch()
            if stage.epoch_is_whole and not stage.resumes:
                stage.tick("epoch", self._value_of)
            stage.resumes = False
            stage.end_epoch()
            self.epochs += self.total is None
            self.first_epoch_ends = self.series.end if self.epochs == 1 else self.first_epoch_ends

    def _epoch(self) -> Iterator[None]:
        stage, batches = self.stage, self._batches
        reacts = any(one.reduce_on_plateau for one in stage.configs)
        if not reacts and all(one.interval == "epoch" for one in stage.configs):
            self._skip()
            yield
        while True:
            updates = stage.begin_batch(stage.batch + 1 >= batches)
            if updates:
                self._note(1)
                stage.update()
            stage.processed()
            if updates:
                stage.tick("step")
            last = stage.batch >= batches
            if last:
                stage.tick("epoch")
            stage.end_batch()
            if reacts:
                self.validations += stage.validates
                self.validations_in_run += stage.validates and self.total is None
                if updates:
                    stage.tick("step", self._value_of)
            if updates:
                yield
            if last or (self.total is None and stage.full):
                return

    def _skip(self) -> None:
        """Go to the last batch of an epoch, or as far as the run goes: nobody is ticked before it."""
        stage, window = self.stage, self.stage.trainer.accumulate_grad_batches
        last = int(self._batches) - 1
        if last <= stage.batch:
            return
        steps = last // window - stage.batch // window  # the last batch steps, whether its window is full or not
        most = stage.trainer.max_steps
        if self.total is None and 0 <= most <= stage.steps + steps:
            steps = most - stage.steps - 1
            last = (stage.batch // window + steps) * window + window - 1
        self._note(steps)
        stage.skip_to(last, steps)

    def _note(self, updates: int) -> None:
        if updates > 0:
            series = self.series if self.total is None else self.onward
            series.add(read_lrs(self.stage.optimizers[0]), updates)

    def _end(self) -> None:
        """Go on past the end of the run, as if it were longer."""
        if self.total is None:
            self.total = self.series.end
            self.onward = Series(self.series.names, self.total)

    def _value_of(self, name: str) -> Any:
        """The value of a metric that a plateau is told."""
        number = next(index for index, one in enumerate(self.stage.configs) if one.monitor == name)
        if not self.validations and name in self._validated and not self.stage.configs[number].strict:
            return None
        plateau, last = self.stage.configs[number].scheduler, self._values.get(number)
        seen = self.validated[number][-1] if self.validated[number] else -1
        if last is None or self._metric == "decisions" or (self._metric == "validations" and self.validations > seen):
            self._values[number] = last = _better(plateau) if self._metric else _best_seen(plateau)
        return torch.tensor(last, dtype=torch.float64)

    def _watch(self, number: int, scheduler: Any) -> None:
        """Count the ticks of a scheduler, whoever calls for them."""
        for name in [name for name in dir(scheduler) if name in ("step", "step_update")]:  # timm's has two
            setattr(scheduler, name, self._counting(number, getattr(scheduler, name)))

    def _counting(self, number: int, step: Any) -> Any:
        stage = self.stage

        def counted(*args: Any, **kwargs: Any) -> Any:
            if self.total is None:
                self.ticks[number].append(self.series.end)
                self.validated[number].append(self.validations)
                self.told[number].append((stage.epoch, kwargs.get("epoch", args[0] if args else None)))
            stage.trainer.epoch_asked = False
            try:
                return step(*args, **kwargs)
            finally:
                self.reads_epoch = self.reads_epoch or stage.trainer.epoch_asked

        return counted

    def _let_averaging_begin(self) -> None:
        """Let StochasticWeightAveraging put its scheduler in the place of the module's."""
        if self._averaging is not None and self.replaced is None and self._averaging.begins_in(self.stage.epoch):
            self.replaced = self.done
            self.stage.configs = [self._averaging.config_for(self.stage.optimizers[0]), *self.stage.configs[1:]]


def _best_seen(plateau: Any) -> float:
    """The best value that a plateau knows; any, where it has seen none."""
    best = float(getattr(plateau, "best", 1.0))
    return best if math.isfinite(best) else 1.0


def _better(plateau: Any) -> float:
    """A value of a metric that is better than all before, by more than the plateau's threshold."""
    best, threshold = _best_seen(plateau), getattr(plateau, "threshold", 0.0)
    size = abs(best) if getattr(plateau, "threshold_mode", "rel") == "rel" else 1.0
    step = max(2 * threshold * size, 1e-3 * abs(best), 1e-12)
    return best + step * (1 if getattr(plateau, "mode", "min") == "max" else -1)
