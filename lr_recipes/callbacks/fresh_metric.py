"""Which values of a metric are fresh, wherever the module logs it, and what waits for the end of an epoch.

A value is fresh once: when the validation is over that logged it, or the epoch of training. Lightning keeps the last
value of every metric for ever and tells nobody when it is a new one, so the results of its loops are looked at. No
checkpoint holds them, and Lightning ends the epoch of some checkpoints a second time, and that of others never: so what
an epoch has logged so far is saved here, and up to which batch it has been dealt with.

What becomes of a value is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lr_recipes import checks
from lr_recipes.callbacks.fit import Fit, goes_on_from
from lr_recipes.callbacks.lightning import (
    Trainer,
    epoch_is_whole,
    logged_as,
    saved_with_batch,
    sums_up,
    training_results,
    validation_results,
    value_of,
)
from lr_recipes.callbacks.telling import tell, warn
from lr_recipes.plan.state import NUMBER, TEXT, ByName, Entries, Value, whole

VALIDATION, TRAINING = "validation", "training"
_HOW = ("mean", "sum", "max", "min", "last")
# What is saved.
OBSERVED = Entries(
    {
        "logged_in": ByName(TEXT, Value(f"{VALIDATION!r} or {TRAINING!r}", lambda one: one in (VALIDATION, TRAINING))),
        "done_up_to": whole(-1),
        "waiting": ByName(
            TEXT,
            Entries(
                {
                    "how": Value(f"one of {', '.join(_HOW)}", lambda how: how in _HOW),
                    "total": NUMBER,
                    "weight": Value("a number above 0", lambda weight: not NUMBER.fault(weight) and weight > 0),
                }
            ),
        ),
    }
)


@dataclass(frozen=True)
class SoFar:
    """What an epoch has logged of a metric: ``how`` it sums up (``mean``, ``sum``, ``max``, ``min``, ``last``)."""

    how: str
    total: float
    weight: float = 1.0

    @property
    def value(self) -> float:
        """The value, were the epoch over now."""
        return self.total / self.weight if self.how == "mean" else self.total

    def then(self, later: SoFar | None) -> SoFar:
        """Return what both parts of an epoch are together."""
        if later is None:
            return self
        if self.how == later.how and self.how in ("mean", "sum"):
            return SoFar(self.how, self.total + later.total, self.weight + later.weight)
        if self.how == later.how and self.how in ("max", "min"):
            return max(self, later, key=lambda one: one.total if self.how == "max" else -one.total)
        return later


class FreshMetrics:
    """The fresh values of some metrics in one fit.

    Args:
        trainer: whose fit; to be made in ``on_train_start``.
        names: of the metrics.
        saved: the state to go on from; empty for none.
        epoch: that of the last update before.
    """

    def __init__(self, trainer: Trainer, names: Iterable[str], saved: Mapping[str, Any], epoch: int) -> None:
        self._fit = Fit.of(trainer)
        self.names = list(dict.fromkeys(names))
        self._logged_in: dict[str, str] = dict(saved.get("logged_in", {}))  # which loop logs a metric, once it has
        for name in self.names:
            if logged_as(validation_results(trainer), name):  # by the sanity check, whose values do not count
                self._logged_in[name] = VALIDATION
        self._done_up_to: int = saved.get("done_up_to", -1)  # index of the last batch whose values are dealt with
        waiting = saved.get("waiting", {})
        self._before = {name: SoFar(one["how"], one["total"], one["weight"]) for name, one in waiting.items()}
        self._ready: dict[str, float] = {}  # values of the epoch that is over but for its end
        self._validated, self._told, self._too_early = -1, False, False
        self._over: dict[str, Any] | None = None
        self.left: dict[str, float] = {}  # of an epoch that Lightning does not end any more
        if epoch != trainer.current_epoch and epoch_is_whole(trainer):
            self.left, self._before = {name: one.value for name, one in self._before.items()}, {}
        elif goes_on_from(trainer) != "checkpoint" or not trainer.fit_loop.restarting:
            self._before = {}  # the epoch is repeated, or it was stopped and the next one begins

    def after_validation(self) -> dict[str, float]:
        """Return the values that the validation has logged; to be called once it is over, before anybody saves."""
        trainer = self._fit.trainer
        self._validated, self._too_early = trainer.fit_loop.total_batch_idx, saved_with_batch(trainer)
        fresh = self._everywhere(self.names, validation_results(trainer), {})
        self._logged_in.update(dict.fromkeys(fresh, VALIDATION))
        if epoch_is_whole(trainer):
            # What is saved now has to hold the epoch's value: Lightning will end the epoch without its results. Here
            # all processes come by, while a state may be asked for on one alone.
            self._ready = self._everywhere(self._of_training(), training_results(trainer), self._before)
        else:
            self._tell_waiting()
        return fresh

    def after_training_epoch(self) -> dict[str, float]:
        """Return the values that the epoch has logged; to be called after the module's own hook.

        Raises:
            ValueError: a metric has been logged nowhere; the message lists those that were.
        """
        trainer = self._fit.trainer
        batch, whole = trainer.fit_loop.total_batch_idx, epoch_is_whole(trainer)
        if batch == self._done_up_to:  # with `max_steps`, Lightning ends the epoch of such a checkpoint once more
            return {}
        if self._validated != batch:
            self._too_early = saved_with_batch(trainer)
        fresh = self._everywhere(self._of_training(), training_results(trainer), self._before)
        self._logged_in.update(dict.fromkeys(fresh, TRAINING))
        if self._validated >= 0 or not trainer.enable_validation:
            for name in self.names:
                if name not in self._logged_in:
                    raise ValueError(self._unknown(name))
        self._before = {} if whole else self._so_far()
        self._ready, self._done_up_to = {}, batch
        # Of an epoch that is stopped before its last batch there is no value, as for Lightning's schedulers.
        return fresh if whole else {}

    def of_validation(self, name: str) -> bool:
        """Tell whether a metric is a validation's; one that a validation logs too is."""
        return self._logged_in.get(name) == VALIDATION

    def saved_too_early(self, name: str) -> bool:
        """Tell whether a checkpoint was saved just before a fresh value, which a resumed run will not have.

        When Lightning goes on from the end of the batch after which it validates or ends the epoch, it does neither.
        """
        one = _last(training_results(self._fit.trainer), name)
        return self._too_early and (self.of_validation(name) or (one is not None and sums_up(one, name) is None))

    def state(self) -> dict[str, Any]:
        """Return what a resumed run has to know, as plain values."""
        if self._over is not None:
            return self._over
        waiting = {name: asdict(one) for name, one in self._so_far().items()}
        return {"logged_in": dict(self._logged_in), "done_up_to": self._done_up_to, "waiting": waiting}

    def end(self) -> None:
        """Keep the state as it is: the run is over, and its Trainer may go."""
        self._over = self.state()

    def _of_training(self) -> list[str]:
        return [name for name in self.names if not self.of_validation(name)]

    def _everywhere(self, names: list[str], results: Any, before: Mapping[str, SoFar]) -> dict[str, float]:
        """The values of this epoch that any process has, the same on all."""
        values = {name: self._fit.metric(name, _epoch_value(results, name, before.get(name))) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    def _so_far(self) -> dict[str, SoFar]:
        """What the epoch has logged so far."""
        trainer = self._fit.trainer
        if trainer.fit_loop.total_batch_idx == self._done_up_to:  # not the results: they may be reset by now, or not
            return self._before
        found = dict(self._before)
        for name in self._of_training():
            one = _last(training_results(trainer), name)
            sums = None if one is None else sums_up(one, name)
            if name in self._ready:
                found[name] = SoFar("last", self._ready[name])
            elif sums is not None and (trainer.world_size == 1 or sums[0] in ("mean", "last")):
                # A sum over processes cannot be told from the part of one of them.
                found[name] = found[name].then(SoFar(*sums)) if name in found else SoFar(*sums)
        return found

    def _unknown(self, name: str) -> str:
        metrics = self._fit.trainer.callback_metrics
        there = ", ".join(sorted(metrics)) or "none: log one with self.log(...) in validation_step or training_step"
        return (
            f"monitor={name!r}{checks.nearest(name, metrics)}: no such metric was logged; there are {there}. Where it "
            "comes in a later epoch, log float('nan') until then"
        )

    def _tell_waiting(self) -> None:
        """Say once, where a validation within an epoch might have logged it, that a metric is not there yet."""
        trainer = self._fit.trainer
        endless = math.isinf(trainer.num_training_batches)  # perhaps this is all that will ever be said
        for name in self.names:
            if name not in self._logged_in and not logged_as(training_results(trainer), name) and not self._told:
                self._told = True
                hint = checks.nearest(name, trainer.callback_metrics)
                say = warn if endless else tell
                say(trainer, f"no {name}{hint} was logged so far: the plateau waits for it until the epoch ends")


def _last(results: Any, name: str) -> Any:
    """The result of this epoch that was logged last under a name; ``None`` for none."""
    fresh = [one for one in logged_as(results, name) if not one.has_reset]
    return fresh[-1] if fresh else None


def _epoch_value(results: Any, name: str, before: SoFar | None) -> Any:
    """The value of this epoch, with what was logged before the run was resumed."""
    one = _last(results, name)
    sums = None if one is None or before is None else sums_up(one, name)
    if before is not None and (one is None or sums is not None):
        return before.then(None if sums is None else SoFar(*sums)).value
    return None if one is None else value_of(results, one, name)
