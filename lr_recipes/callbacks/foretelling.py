"""Foretells what the schedulers of a module will do in a run, and gathers what findings are made from.

The run is played on stages, each with copies of its own: once as it will be, and where that tells something once more
with another metric for its plateaus, or with one of several schedulers alone.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch

from lr_recipes.callbacks.aside import OutOfTime, aside, within
from lr_recipes.callbacks.fit import accumulation_of, limits_of, optimizer_names
from lr_recipes.callbacks.learning_rate_scheduler import LearningRateScheduler
from lr_recipes.callbacks.learning_rate_warmup import LearningRateWarmup
from lr_recipes.callbacks.lightning import (
    LightningModule,
    Trainer,
    averages,
    callbacks_of,
    chosen_checkpoint,
    reloads,
    stops_early,
)
from lr_recipes.callbacks.own_code import OwnCode, own_code
from lr_recipes.callbacks.rehearsal import Rehearsal
from lr_recipes.callbacks.stage import Stage
from lr_recipes.checks import explains_arguments, nearest
from lr_recipes.optimizer import as_built
from lr_recipes.optimizer.clock import Clock
from lr_recipes.optimizer.groups import group_names, read_lrs, warms_up_itself
from lr_recipes.optimizer.told import LENGTHS, arguments_of, described
from lr_recipes.optimizer.twin import CannotCopy
from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.series import Series
from lr_recipes.report.checkpoint_file import read_lightning
from lr_recipes.report.findings import Case, Reacting
from lr_recipes.report.foretold import Forecast, Outlook

SECONDS = 4.0  # that a run waits for its forecast at most
_PLAY = 2.5  # of them for the run itself
_ONWARD = 0.3  # and for what would come after it
_AGAIN = 0.5  # and for each further play, or where the run itself took longer, twice as long
_CHUNK = 1000  # updates that are played at once while the run goes on
_APART = 0.05  # of an LR: by so much two schedulers that agree do not differ from their product


class Told(NamedTuple):
    """What a forecast is made from, beside the Trainer and its module.

    Attributes:
        optimizers: as ``configure_optimizers`` returned them.
        configs: what Lightning knows of the schedulers.
        horizon: the run.
        begun: whether the first batch has begun already.
        factors: by optimizer, what multiplies the schedulers' LRs, such as a warmup, and what they begin with then.
        lengths: settings in which a checkpoint's scheduler is of another length: kind, name, here, there.
        unknown: why the run cannot be played, where that is known already.
    """

    optimizers: Sequence[Any]
    configs: Sequence[Any]
    horizon: Horizon
    begun: bool = True
    factors: Mapping[int, tuple[Callable[[int], float], Sequence[Any]]] = {}
    lengths: Sequence[tuple[str, str, Any, Any]] = ()
    unknown: str = ""


def foretell(trainer: Trainer, module: LightningModule, told: Told) -> Forecast:
    """Return what the module's schedulers will do in the run that the Trainer is about to begin."""
    return _Foretelling(trainer, module, told).forecast()


class _Foretelling:
    def __init__(self, trainer: Trainer, module: LightningModule, told: Told) -> None:
        self.trainer, self.module, self.told = trainer, module, told
        for optimizer in told.optimizers:
            _check_lrs(optimizer)
        self.code: OwnCode = own_code(module, callbacks_of(trainer))
        self.names = optimizer_names(told.optimizers)
        self.caveats: list[str] = []
        self._took = 0.0
        batches = trainer.num_training_batches
        self.batches = None if math.isinf(batches) else int(batches)

    def forecast(self) -> Forecast:
        forecast = self._forecast()
        # A trial of a few batches says nothing about the lengths of the run that is tried.
        trial = self.trainer.fast_dev_run  # type: ignore[attr-defined]
        return replace(forecast, findings=[]) if trial else forecast

    def _forecast(self) -> Forecast:
        automatic = self.module.automatic_optimization
        if self.told.unknown:
            self.caveats.append(self.told.unknown)
        elif automatic and self.told.optimizers and not self.trainer.strategy.handles_gradient_accumulation:
            return self._played()
        elif not automatic:
            self.caveats.append(
                f"{type(self.module).__name__} optimizes by hand: only its own code knows when an optimizer steps and "
                "when a scheduler is ticked"
            )
        elif self.told.optimizers:
            self.caveats.append(f"{type(self.trainer.strategy).__name__} counts updates by a rule of its own")
        outlooks = [self._unplayed(number) for number in range(len(self.told.optimizers))]
        return Forecast.of(outlooks, [[] for _ in self.told.configs], self.caveats)

    def _unplayed(self, number: int) -> Outlook:
        """What is known of an optimizer whose run cannot be played: what it was told."""
        optimizer = self.told.optimizers[number]
        case = Case(
            Series(group_names(optimizer)),
            schedulers=[described(one.scheduler) for one in self._configs_of(optimizer)],
            built=as_built.lrs_before(optimizer),
            own_warmup=warms_up_itself(optimizer),
            optimizer=number,
        )
        now = read_lrs(optimizer)
        return Outlook(self.names[number], case, self.told.horizon, 0, now, now)

    def _configs_of(self, optimizer: Any) -> list[Any]:
        return [one for one in self.told.configs if getattr(one.scheduler, "optimizer", optimizer) is optimizer]

    # A run that the Trainer steps: it has one optimizer

    def _played(self) -> Forecast:
        if self.batches is None and not self._needs_no_epochs:
            self.caveats.append("the loader has no length, so it is not known when an epoch ends")
            outlook = self._unplayed(0)
            outlook.total = self.trainer.max_steps if self.trainer.max_steps >= 0 else None
            return Forecast.of([outlook], [[] for _ in self.told.configs], self.caveats)
        started = time.monotonic()
        play: Rehearsal | None = None
        with aside() as found:
            try:
                with within(SECONDS):
                    play = self._rehearsal()
                    play.play(updates=self._far, until=started + _PLAY)
                    self._took = time.monotonic() - started
            except CannotCopy as error:
                self.caveats.append(f"the schedulers hold {error}, which cannot be copied to be ticked ahead")
            except OutOfTime:
                kinds = " and ".join(type(one.scheduler).__name__ for one in self.told.configs)
                self.caveats.append(f"{kinds} took more than {SECONDS:g} s, and was stopped")
        if play is None or not len(play.series):
            outlook = self._unplayed(0)
            if play is not None and play.total is not None:  # the run was over before
                outlook.known, outlook.total = play.total, play.total
            return Forecast.of([outlook], [[] for _ in self.told.configs], [*self.caveats, *self._unknown(play)])
        known = self._known(play, found.drew)
        with aside():
            case = self._case(play)
        outlook = self._outlook(play, case, known)
        return Forecast.of([outlook], play.ticks, self.caveats)

    @property
    def _far(self) -> int | None:
        """The update up to which a run is played whose end is not known; ``None`` where it is."""
        ends = self.trainer.max_steps >= 0 or (self.batches is not None and (self.trainer.max_epochs or -1) >= 0)
        return None if ends else self.trainer.global_step + _CHUNK * 10

    def _rehearsal(self, metric: str = "decisions", configs: Sequence[Any] | None = None) -> Rehearsal:
        given = self.told.configs if configs is None else configs
        starts = self.told.factors[0][1] if 0 in self.told.factors else None
        return Rehearsal(
            self.trainer,
            self.module,
            self.told.optimizers,
            given,
            metric,
            self.told.begun,
            starts,
            {one.monitor for one in given if one.monitor and self.code.in_validation(one.monitor)},
        )

    def _again(self, metric: str = "decisions", configs: Sequence[Any] | None = None) -> Rehearsal | None:
        """Play the run once more, with another metric or fewer schedulers; ``None`` where that takes too long."""
        # By the run's own time, that a busy machine finds the same as an idle one.
        seconds = max(_AGAIN, 2 * self._took)
        until = time.monotonic() + seconds
        try:
            with within(2 * seconds):
                play = self._rehearsal(metric, configs)
                play.play(updates=self._far, until=until)
                return play
        except (OutOfTime, CannotCopy):
            return None

    @cached_property
    def _never_better(self) -> Rehearsal | None:
        """The run as it is with metrics that never get better."""
        return self._again("")

    def _known(self, play: Rehearsal, drew: bool) -> int:
        """The first update whose LR is not certain, with a caveat that says why."""
        known, name = play.series.end, type(self.module).__name__
        if drew:
            self.caveats.append("a scheduler draws random numbers, which are others in the run")
            known = play.first
        if self.code.writes_lr:
            self.caveats.append(f"the LR is written in {_in_methods(self.code.writes_lr)} too")
            known = play.first
        if self.code.ticks:
            self.caveats.append(f"a scheduler is ticked in {_in_methods(self.code.ticks)}, and not by Lightning alone")
            known = play.first
        if self.code.skips_steps:
            self.caveats.append(f"{name} decides in optimizer_step by itself whether the optimizer steps")
            known = play.first
        decisions = [
            ticks[0]
            for one, ticks in zip(self.told.configs, play.ticks, strict=True)
            if ticks and one.reduce_on_plateau
        ]
        if decisions:
            self.caveats.append(
                f"from update {min(decisions):,} on a plateau decides by its metric; what is shown is that of a metric "
                "that gets better each time"
            )
            known = min(known, *decisions)
        if reloads(self.trainer):
            self.caveats.append("the loader is made anew between epochs, and may then have another length")
            known = min(known, play.first_epoch_ends)
        if play.unknown:
            self.caveats.append(f"the schedulers are known up to update {play.series.end:,}: {play.unknown}")
        elif play.total is None and play.error is None and self._far is None:
            self.caveats.append(
                f"the run is long: what comes after update {play.series.end:,} is played as the run goes on"
            )
        for one in stops_early(self.trainer):
            self.caveats.append(f"{one} may end the run before")
        return known

    @property
    def _needs_no_epochs(self) -> bool:
        configs = self.told.configs
        each = all(one.interval == "step" and one.frequency == 1 and not one.reduce_on_plateau for one in configs)
        return not configs or (each and self.trainer.accumulate_grad_batches == 1)

    def _unknown(self, play: Rehearsal | None) -> list[str]:
        if play is None or not (play.unknown or play.error):
            return []
        why = play.unknown if play.error is None else in_a_line(play.error)
        return [f"the schedulers cannot be ticked ahead: {why}"]

    def _outlook(self, play: Rehearsal, case: Case, known: int) -> Outlook:
        optimizer = self.told.optimizers[0]
        total = self._total(play, case)
        bases = as_built.peak_lrs(optimizer, [one.scheduler for one in self.told.configs])
        factor = self.told.factors[0][0] if 0 in self.told.factors else None
        outlook = Outlook(
            self.names[0], case, self.told.horizon, known, bases, read_lrs(optimizer), factor, total=total
        )
        if play.total is None and play.error is None and not play.unknown and known == play.series.end:
            outlook.play_on = partial(_play_on, play, outlook)
        return outlook

    def _total(self, play: Rehearsal, case: Case) -> int | None:
        if case.raised is not None:
            return case.raised[0]
        uncertain = self.code.skips_steps or reloads(self.trainer)
        if uncertain or (self.batches is None and self.trainer.max_steps < 0):
            return None
        if play.total is not None:
            return play.total
        return None if self._far is not None else self.told.horizon.total_steps

    # What findings are made from

    def _case(self, play: Rehearsal) -> Case:
        optimizer, configs = self.told.optimizers[0], self.told.configs
        if play.total is not None:
            self._play_onward(play)
        schedulers = [
            described(one.scheduler, one.interval, one.frequency)._replace(ticks=ticks)
            for one, ticks in zip(configs, play.ticks, strict=True)
        ]
        accumulation = accumulation_of(self.trainer)
        windows = {accumulation(epoch) for epoch in range(min(play.epochs, _CHUNK) or 1)}
        return Case(
            play.series,
            whole=play.total is not None,
            schedulers=schedulers,
            onward=play.onward if play.total is not None else None,
            raised_onward=play.total is not None and play.error is not None,
            built=as_built.lrs_before(optimizer),
            epochs=self.trainer.max_epochs if (self.trainer.max_epochs or -1) >= 0 else None,
            batches=self.batches,
            accumulate=windows.pop() if len(windows) == 1 else 0,
            planned=self.told.horizon.total_steps,
            raised=self._raised(play),
            undone=self._undone(play),
            replaced=self._replaced(play),
            late=self._late(play),
            plateaus=self._plateaus(play),
            unread=self._unread(),
            lengths=self.told.lengths,
            own_warmup=warms_up_itself(optimizer),
        )

    def _play_onward(self, play: Rehearsal) -> None:
        """Play past the end until it is seen where a slope that the end cuts off leads to."""
        seconds = max(_ONWARD, self._took)
        until, updates = time.monotonic() + seconds, max(len(play.series) // 50, 8)
        try:
            with within(2 * seconds):
                while time.monotonic() < until and play.goes_on and len(play.onward) < 50 * len(play.series) + 1000:
                    play.play(updates=play.onward.end + updates, until=until)
                    updates *= 2
                    if play.has_turned:
                        return
        except OutOfTime:
            return

    def _raised(self, play: Rehearsal) -> tuple[int, str] | None:
        return min(self._errors(play), key=lambda error: error[0], default=None)

    def _errors(self, play: Rehearsal) -> Iterator[tuple[int, str]]:
        """What stops the run: the first update that is never done, and the error."""
        if play.error is not None and play.total is None:
            yield play.series.end, in_a_line(play.error)
        for number, config in enumerate(self.told.configs):
            if not config.reduce_on_plateau or not config.strict or not play.ticks[number]:
                continue
            after, monitor = play.ticks[number][0], config.monitor
            if self.code.logs_metric(monitor) is False:
                near = nearest(monitor, [re.sub(r"\\(.)", r"\1", name) for name in self.code.logs])
                yield (
                    after,
                    f"ReduceLROnPlateau waits for monitor={monitor!r}, which nothing logs{near}. Log or rename it",
                )
            elif self.code.in_validation(monitor) and not play.validated[number][0]:
                yield (
                    after,
                    f"ReduceLROnPlateau asks for monitor={monitor!r} before the first validation has logged it. Give "
                    "it the rhythm of the validations, with interval and frequency, or strict=False",
                )

    def _undone(self, play: Rehearsal) -> tuple[int, int, str, str] | None:
        configs = self.told.configs
        if len(configs) < 2:
            return None
        joint = self._never_better if any(one.reduce_on_plateau for one in configs) else play
        alone = [self._again("", [one]) for one in configs]
        if joint is None or any(one is None for one in alone):
            return None
        plays = [one for one in alone if one is not None]
        end = min(one.series.end for one in [joint, *plays])
        apart = [(first, count) for first, count, ratio in _ratios(joint, plays, end) if abs(ratio - 1) > _APART]
        count = sum(count for _, count in apart)
        if count <= max(1, len(joint.series) // 100):
            return None
        return apart[0][0], count, type(configs[0].scheduler).__name__, type(configs[1].scheduler).__name__

    def _replaced(self, play: Rehearsal) -> tuple[int, str, str] | None:
        if play.replaced is None or not self.told.configs or play.replaced >= play.series.end:
            return None
        return play.replaced, "StochasticWeightAveraging", type(self.told.configs[0].scheduler).__name__

    def _late(self, play: Rehearsal) -> tuple[int, str] | None:
        for config, told, ticks in zip(self.told.configs, play.told, play.ticks, strict=True):
            if config.reduce_on_plateau or config.interval != "epoch" or len(ticks) < 3:
                continue
            if all(given == epoch for epoch, given in told):
                return ticks[0], "Give step() current_epoch + 1"
            lrs = [
                play.series.at(update)[play.series.leader]
                for update in (play.first, *ticks[:2])
                if update < play.series.end
            ]
            if play.reads_epoch and len(lrs) == 3 and lrs[0] == lrs[1] != lrs[2]:
                return ticks[0], "Take current_epoch + 1, the epoch that begins"
        return None

    def _plateaus(self, play: Rehearsal) -> list[Reacting]:
        found = []
        for number, config in enumerate(self.told.configs):
            if not config.reduce_on_plateau or not play.ticks[number]:
                continue
            worst = self._never_better
            validated = self.code.in_validation(config.monitor)
            stale = self._again("validations") if validated else None
            first = _first_difference(stale, play) if stale is not None else None
            found.append(
                Reacting(
                    config.monitor,
                    getattr(config.scheduler, "patience", 0),
                    len(play.ticks[number]),
                    cuts=worst is None or _first_difference(worst, play) is not None,
                    stale=first,
                    validations=play.validations_in_run if validated else None,
                )
            )
        return found

    def _unread(self) -> list[str]:
        """Schedulers that were made on an optimizer of which Lightning knows none."""
        optimizer = self.told.optimizers[0]
        if self._configs_of(optimizer) or self.code.ticks:
            return []
        return as_built.made_on(optimizer)[-1:]


def _in_methods(methods: Sequence[str]) -> str:
    return " and ".join(sorted({*methods}))


def _check_lrs(optimizer: Any) -> None:
    for name, group in zip(group_names(optimizer), optimizer.param_groups, strict=True):
        if not isinstance(group.get("lr"), (int, float, torch.Tensor)):
            raise ValueError(
                f"{type(optimizer).__name__} has lr={group.get('lr')!r} in {name}, and computes its LR itself, so "
                "there is none to forecast: build it with a number as in lr=1e-3"
            )


def _play_on(play: Rehearsal, outlook: Outlook, update: int) -> None:
    """Play up to an update, and some further, as far as one may wait for it."""
    with aside():
        try:
            with within(SECONDS):
                play.play(updates=update + _CHUNK, until=time.monotonic() + _PLAY)
        except OutOfTime:
            outlook.play_on = None
    outlook.known = play.series.end
    if play.total is not None or play.error is not None or play.unknown:
        outlook.play_on = None


def _ratios(joint: Rehearsal, plays: Sequence[Rehearsal], end: int) -> Iterator[tuple[int, int, float]]:
    """Stretches of updates, and there the LR of all together by the product of each alone."""
    group = joint.series.leader
    firsts = sorted({first for one in [joint, *plays] for first in one.series.firsts if first < end})
    start, least = joint.series.at(joint.first)[group], 1e-12 * joint.series.peak(group)
    for first, after in pairwise([*firsts, end]):
        product = start
        for one in plays:
            begin = one.series.at(one.first)[group]
            product *= one.series.at(first)[group] / begin if begin else 1.0
        if product > least:
            yield first, after - first, joint.series.at(first)[group] / product


def _first_difference(one: Rehearsal, other: Rehearsal) -> int | None:
    """The first update that uses another LR."""
    end = min(one.series.end, other.series.end)
    firsts = sorted({first for play in (one, other) for first in play.series.firsts if first < end})
    return next((first for first in firsts if one.series.at(first) != other.series.at(first)), None)


def in_a_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of what it says."""
    (first, *_) = (str(error).strip() or "no message").splitlines()
    return f"{type(error).__name__}: {first}"


def lengths_of(schedulers: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the settings of schedulers that say how long they last."""
    return [{name: value for name, value in arguments_of(one).items() if name in LENGTHS} for one in schedulers]


def other_lengths(schedulers: Sequence[Any], built: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, Any, Any]]:
    """Return what a checkpoint has changed of the lengths that schedulers were built with: kind, name, built, now."""
    return [
        (type(one).__name__, name, was[name], now)
        for one, was, lengths in zip(schedulers, built, lengths_of(schedulers), strict=False)
        for name, now in lengths.items()
        if name in was and was[name] != now
    ]


@explains_arguments
def forecast(
    trainer: Trainer,
    module: LightningModule,
    train_dataloaders: Any = None,
    val_dataloaders: Any = None,
    datamodule: Any = None,
    ckpt_path: Any = None,
) -> Forecast:
    """Foretell what the schedulers of a module will do in ``trainer.fit``, without training.

    The arguments are those of ``Trainer.fit``, which afterwards does what it would have done: what is built here, and
    ticked through the run, are copies. ``prepare_data`` and ``setup`` are called, on a view of the module and the data
    module, and no batch is read.

    Args:
        trainer: the Trainer that is to train.
        module: the module, with optimizers and schedulers of its own.
        train_dataloaders: the training data.
        val_dataloaders: the validation data.
        datamodule: a data module in place of both.
        ckpt_path: checkpoint that the run goes on from.

    Returns:
        The LRs of every update, when each tick comes, and ``findings``: what is wrong with them. Prints as a run does
        before its first update.

    Raises:
        ValueError: the module has no optimizer, its schedulers cannot be built before training, a schedule of ours
            owns the LR, or the checkpoint is none of this run.

    Example:
        >>> import torch
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> trainer = Trainer(max_epochs=3, logger=False, accelerator="cpu", enable_progress_bar=False)
        >>> told = forecast(trainer, BoringModel())
        >>> told.total_steps(), told.lr(0), round(told.lr(191)[0], 6), told.ticks()
        (192, [0.1], 0.001, [64, 128, 192])
    """
    if any(isinstance(one, LearningRateScheduler) for one in callbacks_of(trainer)):
        raise _nothing_to_foretell("a LearningRateScheduler")
    checkpoint = None if ckpt_path is None else _checkpoint_at(trainer, ckpt_path)
    stage = Stage(trainer, module)
    with aside(), as_built.noting():
        optimizers, configs = _built(stage, train_dataloaders, val_dataloaders, datamodule)
        owners = [clock.owner for clock in map(Clock.on, optimizers) if clock is not None and clock.bound]
        if len(owners) == len(optimizers):
            raise _nothing_to_foretell(
                " and ".join(f"{owner.plan.schedule!r}" for owner in owners if owner is not None)
            )
        schedulers = [one.scheduler for one in configs]
        lengths, averaged = lengths_of(schedulers), checkpoint is not None and averages(checkpoint)
        if checkpoint is not None and not averaged:
            _restore(stage, checkpoint, ckpt_path)
        horizon = limits_of(stage.trainer).horizon()
        told = Told(
            optimizers,
            configs,
            horizon,
            begun=False,
            factors=_warmup_of(trainer, horizon),
            lengths=other_lengths(schedulers, lengths),
            unknown="the run goes on with the scheduler that StochasticWeightAveraging has begun" if averaged else "",
        )
        return foretell(stage.trainer, stage.module, told)


def _nothing_to_foretell(owner: str) -> ValueError:
    return ValueError(
        f"{owner} owns the LR of this Trainer, so there is nothing to forecast: its plan is what will be used, and "
        "lr_recipes.preview(schedule, ...) shows it"
    )


def _built(stage: Stage, *data: Any) -> tuple[list[Any], list[Any]]:
    """The optimizers, and what Lightning knows of the schedulers."""
    kind = type(stage.module).__name__
    try:
        optimizers, configs = stage.set_up(*data)
    except Exception as error:
        raise ValueError(
            f"the schedulers of {kind} cannot be built before training: {in_a_line(error)}; let configure_optimizers "
            "use only what __init__, setup and the Trainer give"
        ) from error
    if not [one for one in optimizers if getattr(one, "param_groups", None)]:
        raise ValueError(
            f"{kind}.configure_optimizers() returns no optimizer, so there is no LR to forecast: return one"
        )
    return optimizers, configs


def _restore(stage: Stage, checkpoint: dict[str, Any], path: Any) -> None:
    try:
        stage.restore(checkpoint)
    except Exception as error:
        raise ValueError(
            f"ckpt_path={str(path)!r} is of another module or Trainer: {in_a_line(error)}; give a checkpoint of this "
            "one"
        ) from error


def _warmup_of(trainer: Trainer, horizon: Horizon) -> dict[int, Any]:
    for one in callbacks_of(trainer):
        if isinstance(one, LearningRateWarmup):
            return {0: (one.schedule.plan(horizon, [], peak=1.0).curve.factor, None)}
    return {}


def _checkpoint_at(trainer: Trainer, given: Any) -> dict[str, Any] | None:
    """What a checkpoint holds; ``None`` for the ``"last"`` one, where there is none and Lightning loads none."""
    with aside():
        path = chosen_checkpoint(trainer, given)
    return None if path is None else read_lightning(path)[0]
