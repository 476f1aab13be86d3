"""Durations and run facts become whole optimizer steps here; nothing in this module knows torch or Lightning.

A *duration* is a length with its unit (``"500 steps"``, ``"5 epochs"``, ``"10%"``, ``"100k samples"`` or a plain
``int`` of steps). A :class:`Horizon` holds the facts of one run that turn durations into steps.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

UNITS = {
    "steps": ("steps", "step", "st", "updates", "update"),
    "epochs": ("epochs", "epoch", "ep"),
    "%": ("%", "percent"),
    "samples": ("samples", "sample", "sa"),
}
_UNIT_OF = {name: unit for unit, names in UNITS.items() for name in names}
_PREFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_PATTERN = re.compile(r"\s*([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([kMG]?)\s*([^\W\d]*|%)\s*", re.UNICODE)
_EXAMPLES = "'500 steps', '5 epochs', '10%', '100k samples' or a whole number of steps"


class HorizonError(ValueError):
    """A schedule needs a fact about the run that the run does not have."""


@dataclass(frozen=True)
class Duration:
    """A length with its unit.

    Args:
        value: how many units; never negative.
        unit: ``"steps"``, ``"epochs"``, ``"%"`` (of the total number of updates) or ``"samples"``.

    Example:
        >>> Duration.parse("5ep")
        Duration(value=5, unit='epochs')
        >>> str(Duration.parse("100k samples"))
        '100000 samples'
    """

    value: int | float
    unit: str

    def __str__(self) -> str:
        return f"{self.value:g}%" if self.unit == "%" else f"{_plain(self.value)} {self.unit}"

    @classmethod
    def parse(cls, given: int | str | Duration, name: str = "duration", minimum: float = 0) -> Duration:
        """Read what somebody typed.

        Args:
            given: an ``int`` (steps) or a string with a unit.
            name: what the value is called where it was typed; used in messages.
            minimum: 0 allows no length at all; anything above 0 asks for a positive length.

        Raises:
            ValueError: the value cannot be read, is a bare float, is negative, or is zero where a length is needed.
        """
        duration = given if isinstance(given, Duration) else cls._read(given, name)
        if duration.value < 0 or (minimum > 0 and duration.value == 0):
            least = "positive" if minimum > 0 else "zero or more"
            raise ValueError(f"{name}={given!r}: a length must be {least}; write {_EXAMPLES}")
        if duration.unit == "%" and duration.value > 100:
            raise ValueError(f"{name}={given!r} is more than the whole run: at most '100%'")
        return duration

    @classmethod
    def _read(cls, given: Any, name: str) -> Duration:
        if isinstance(given, bool) or not isinstance(given, (int, float, str)):
            raise ValueError(f"{name}={given!r} is no duration: write {_EXAMPLES}")
        if isinstance(given, int):
            return cls(given, "steps")
        match = None if isinstance(given, float) else _PATTERN.fullmatch(given)
        if isinstance(given, float) or (match and not match[3] and not match[2] and not _is_whole(match[1])):
            percent = f"{float(given) * 100:g}%" if 0 <= float(given) <= 1 else "10%"
            raise ValueError(f"{name}={given!r}: {given} of what? Write {percent!r}, or {_EXAMPLES}")
        if match is None:
            raise ValueError(f"{name}={given!r} cannot be read: write {_EXAMPLES}")
        return cls._from_match(match, given, name)

    @classmethod
    def _from_match(cls, match: re.Match[str], given: str, name: str) -> Duration:
        number, prefix, word = match.groups()
        unit = _UNIT_OF.get(word.lower() or "steps")
        if unit is None:
            known = ", ".join(UNITS)
            near = difflib.get_close_matches(word.lower(), _UNIT_OF, n=1, cutoff=0.5)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"{name}={given!r}: unknown unit {word!r}{hint}; units are {known}")
        return cls(_whole_if_possible(float(number.replace("_", "")) * _PREFIXES[prefix]), unit)


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """The facts about a run that turn durations into steps.

    Args:
        total_steps: optimizer updates in the whole run; ``None`` when the run has no known end.
        steps_per_epoch: optimizer updates in an epoch. A sequence gives each epoch its own number (its last entry
            goes on for later epochs), as a change of gradient accumulation between epochs does.
        samples_per_step: samples that one update sees, over all devices and accumulated batches.
        source: where the total came from, in words, for the printed plan.

    Raises:
        ValueError: a number is not positive.

    Example:
        >>> run = Horizon(total_steps=1000, steps_per_epoch=100)
        >>> run.steps("5 epochs"), run.steps("10%"), run.steps(7)
        (500, 100, 7)
    """

    total_steps: int | None = None
    steps_per_epoch: int | Sequence[int] | None = None
    samples_per_step: int | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.steps_per_epoch, Sequence):
            epochs = tuple(self.steps_per_epoch)
            object.__setattr__(self, "steps_per_epoch", epochs[0] if len(set(epochs)) == 1 else epochs)
        for name in ("total_steps", "steps_per_epoch", "samples_per_step"):
            given = getattr(self, name)
            for value in given if isinstance(given, tuple) else (given,):
                if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                    raise ValueError(f"{name}={given!r}: must be a whole number of at least 1, or None")

    def describe(self) -> dict[str, Any]:
        """Return the facts as plain numbers, strings and lists, for checkpoints."""
        epochs = self.steps_per_epoch
        return {
            "total_steps": self.total_steps,
            "steps_per_epoch": list(epochs) if isinstance(epochs, Sequence) else epochs,
            "samples_per_step": self.samples_per_step,
            "source": self.source,
        }

    def steps(self, duration: int | str | Duration, name: str = "duration", times: int = 1) -> int:
        """Return the length of ``times`` x ``duration`` in whole steps, rounded half up; a positive length lasts at least one.

        Raises:
            HorizonError: the unit needs a fact that this run does not have.
        """
        parsed = Duration.parse(duration, name)
        exact = self._exact(parsed, name, times)
        whole = math.floor(exact + 0.5)
        return max(whole, times) if exact > 0 else 0

    def every(self, duration: int | str | Duration, name: str = "duration") -> range | list[int]:
        """Return the positions at which ``duration`` has passed once, twice, ... from the start of training.

        Whole lengths give a ``range`` without end; others, such as half an epoch of 13 steps or epochs of different
        lengths, are rounded each from the start, so that no drift builds up.
        """
        step = self.steps(duration, name)
        parsed = Duration.parse(duration, name)
        uneven = parsed.unit == "epochs" and isinstance(self.steps_per_epoch, tuple)
        if self.total_steps is None or (not uneven and self._exact(parsed, name, 1) == step):
            return range(step, 2**62, step)
        marks = (self.steps(parsed, name, times) for times in itertools.count(1))
        return list(itertools.takewhile(lambda mark: mark <= (self.total_steps or 0), marks))

    def _exact(self, duration: Duration, name: str, times: int) -> float:
        """Length of ``times`` x ``duration`` in steps, before rounding."""
        value = duration.value * times
        if duration.unit == "steps":
            return value
        if duration.unit == "%":
            return value * self.need_total(f"{name}={str(duration)!r}") / 100
        if duration.unit == "samples":
            return value / int(self._need("samples_per_step", duration, name, "give the loader a batch_size"))
        return self._epochs_to_steps(value, self._need("steps_per_epoch", duration, name, "give the loader a length"))

    def _need(self, fact: str, duration: Duration, name: str, remedy: str) -> Any:
        value = getattr(self, fact)
        if value is None:
            raise HorizonError(
                f"{name}={str(duration)!r} needs {fact}, which this run does not have: "
                f"write it in steps ('500 steps'), or {remedy}"
            )
        return value

    def need_total(self, who: str) -> int:
        """Return the total number of updates, or say who needs it and how to give one.

        Raises:
            HorizonError: the run has no known end.
        """
        if self.total_steps is None:
            why = f" ({self.source})" if self.source else ""
            raise HorizonError(
                f"{who} needs to know how many updates the run will do, and this run has no known end{why}. "
                "Set Trainer(max_steps=...), or an integer limit_train_batches with max_epochs, or give the total: "
                "LearningRateScheduler(..., total_steps=...). Schedules that need no total: fixed, warmup_constant, "
                "step in epochs or steps, plateau, inverse_sqrt with a warmup in epochs or steps"
            )
        return self.total_steps

    def epoch_of(self, position: int) -> int | None:
        """Return the epoch (from 0) that holds the update at ``position``."""
        if self.steps_per_epoch is None:
            return None
        if isinstance(self.steps_per_epoch, int):
            return position // self.steps_per_epoch
        for epoch, steps in enumerate(self.steps_per_epoch):
            if position < steps:
                return epoch
            position -= steps
        return len(self.steps_per_epoch) + position // self.steps_per_epoch[-1]

    @staticmethod
    def _epochs_to_steps(epochs: float, steps_per_epoch: int | Sequence[int]) -> float:
        if isinstance(steps_per_epoch, int):
            return epochs * steps_per_epoch
        whole = math.floor(epochs)
        last = steps_per_epoch[-1]
        lengths = [*steps_per_epoch[:whole], *[last] * (whole - len(steps_per_epoch))]
        following = steps_per_epoch[whole] if whole < len(steps_per_epoch) else last
        return sum(lengths) + (epochs - whole) * following


def count_updates(
    *, batches: int | None, epochs: int | None, max_steps: int | None, accumulate: Callable[[int], int]
) -> tuple[int | None, tuple[int, ...]]:
    """Count the updates that a training loop will do, by the loop's own rule.

    An epoch of ``batches`` micro-batches does ``ceil(batches / accumulate(epoch))`` updates, because the last window
    steps even when it is partial; ``max_steps`` ends the run within an epoch.

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
        return max_steps, ()
    if epochs is None:
        return max_steps, _epoch_lengths(batches, 1 if max_steps is None else max_steps, accumulate)
    per_epoch = tuple(math.ceil(batches / accumulate(epoch)) for epoch in range(epochs))
    total = sum(per_epoch)
    return (total if max_steps is None else min(total, max_steps)), per_epoch


def _epoch_lengths(batches: int, updates: int, accumulate: Callable[[int], int]) -> tuple[int, ...]:
    """Lengths of as many epochs as ``updates`` updates touch."""
    lengths: list[int] = []
    done = 0
    while done < updates:
        lengths.append(math.ceil(batches / accumulate(len(lengths))))
        done += lengths[-1]
    return tuple(lengths)


def _is_whole(text: str) -> bool:
    return text.strip().lstrip("+-").replace("_", "").isdigit()


def _whole_if_possible(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _plain(value: int | float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
