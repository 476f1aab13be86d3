"""Durations and run facts become whole optimizer steps here. The standard library alone.

A *duration* is a length with its unit (``"500 steps"``, ``"5 epochs"``, ``"10%"``, ``"100k samples"``,
``"500M tokens"`` or a plain ``int`` of steps). A :class:`Horizon` holds the facts of one run that turn durations into
steps.

To add a unit: a row of ``UNITS``, a fact of ``Horizon``, and how one makes steps of the other in ``Horizon._exact``.
Where a fact comes from is not known here: ``callbacks/fit.py`` asks a Trainer, ``command_line.py`` what was typed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from lr_recipes import checks
from lr_recipes.plan.curve import FOREVER
from lr_recipes.plan.epochs import Epochs

# Unit -> what may be typed for it, in any case of the letters.
UNITS = {
    "steps": ("steps", "step", "st", "updates", "update"),
    "epochs": ("epochs", "epoch", "ep"),
    "%": ("%", "percent"),
    "samples": ("samples", "sample", "sa"),
    "tokens": ("tokens", "token", "tok"),
}
_UNIT_OF = {name: unit for unit, names in UNITS.items() for name in names}
_PREFIXES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
# A number, a prefix, a unit: "100k samples". A prefix may stand alone ("10k" are 10,000 steps), and the spaces may go
# ("5ep").
_PATTERN = re.compile(r"\s*([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([kKMGBT]?)\s*([^\W\d]*|%)\s*")
# Fact -> a value that somebody may give.
EXAMPLES = {"total_steps": 1000, "steps_per_epoch": 100, "samples_per_step": 256, "tokens_per_sample": 2048}
_GROWN = math.log(FOREVER)
_LENGTHS = "'500 steps', '5 epochs', '10%', '100k samples', '500M tokens' or a whole number of steps"


class HorizonError(ValueError):
    """A schedule needs a fact about the run that the run does not have.

    It carries its parts, so that whoever speaks to the user can say in its own words how the fact is given.

    Args:
        who: what needs the fact, such as ``"Cosine"`` or ``"warmup='5 epochs'"``.
        fact: which one: an argument of ``Horizon``, such as ``"total_steps"``.
        why: why the run does not have it, where that is known.
        advice: what to do about it; by default what suits somebody who made the ``Horizon``.
    """

    def __init__(self, who: str, fact: str, why: str = "", advice: str | None = None) -> None:
        super().__init__(who, fact, why, advice)  # all of them, so that the error survives pickling
        self.who, self.fact, self.why = who, fact, why
        self.advice = _advice_on(fact) if advice is None else advice

    def __str__(self) -> str:
        lacks = "and this run has no known end" if self.fact == "total_steps" else "which this run does not have"
        because = f" ({self.why})" if self.why else ""
        return f"{self.needs}, {lacks}{because}. {self.advice}"

    @property
    def needs(self) -> str:
        """Who needs what, without the advice."""
        what = "to know how many updates the run will do" if self.fact == "total_steps" else self.fact
        return f"{self.who} needs {what}"

    def advised(self, advice: str) -> HorizonError:
        """Return the same error with other advice."""
        return HorizonError(self.who, self.fact, self.why, advice)


@dataclass(frozen=True)
class Duration:
    """A length with its unit.

    Args:
        value: how many units; never negative.
        unit: ``"steps"``, ``"epochs"``, ``"%"`` (of the total number of updates), ``"samples"`` or ``"tokens"``.

    Example:
        >>> Duration.parse("5ep")
        Duration(value=5, unit='epochs')
        >>> str(Duration.parse("100k samples"))
        '100000 samples'
    """

    value: int | float
    unit: str

    def __str__(self) -> str:
        # Without commas, unlike in messages: what is saved in a checkpoint is parsed again.
        unit = self.unit.removesuffix("s") if self.value == 1 else self.unit
        return f"{self.value}%" if self.unit == "%" else f"{self.value} {unit}"

    @classmethod
    def parse(cls, given: int | str | Duration, name: str = "duration", minimum: float = 0) -> Duration:
        """Read what somebody typed.

        Args:
            given: an ``int`` (steps) or a string with a unit.
            name: what the value is called where it was typed; used in messages.
            minimum: 0 allows no length at all; anything above 0 asks for a positive length.

        Raises:
            ValueError: the value cannot be read, is a bare float, is negative or infinite, or is zero where a length
                is needed.
        """
        duration = given if _is_duration(given) else cls._read(given, name)
        # Not-a-number is not between 0 and infinity either, so it is refused here too.
        if not 0 <= duration.value < math.inf or (minimum > 0 and duration.value == 0):
            least = "positive" if minimum > 0 else "zero or more"
            raise ValueError(f"{name}={checks.brief(given)}: a length must be {least} and finite; write {_LENGTHS}")
        if duration.unit == "%" and duration.value > 100:
            raise ValueError(f"{name}={checks.brief(given)} is more than the whole run: at most '100%'")
        checks.countable(name, duration.value, given)
        return duration

    @classmethod
    def _read(cls, given: Any, name: str) -> Duration:
        given = checks.plain(given)
        # A bool is an int in Python, and `warmup: yes` in YAML is a bool: nobody means 1 step by it.
        if isinstance(given, bool) or not isinstance(given, (int, float, str)):
            raise ValueError(f"{name}={checks.brief(given)} is not a duration: write {_LENGTHS}")
        if isinstance(given, int):
            return cls(given, "steps")
        if isinstance(given, float):
            raise ValueError(_of_what(given, given, name))
        # No length is as long; and the pattern, which goes back over digits, would take hours over a million of them.
        match = _PATTERN.fullmatch(given) if len(given) < 400 else None
        if match is None:
            raise ValueError(f"{name}={checks.brief(given)} cannot be read: write {_LENGTHS}")
        return cls._from_match(match, given, name)

    @classmethod
    def _from_match(cls, match: re.Match[str], given: str, name: str) -> Duration:
        number, prefix, word = match.groups()
        if (prefix + word).lower() in _UNIT_OF:  # "5 Tokens" are no tera-okens
            prefix, word = "", prefix + word
        value = float(number.replace("_", "")) * _PREFIXES[prefix]
        # "10" and "10k" are steps. "0.1" is asked back, and so are "10.0" and "1e3": they could be a share of the run.
        if not word and not prefix and not _is_whole(number):
            raise ValueError(_of_what(given, value, name))
        unit = _UNIT_OF.get(word.lower() or "steps")
        if unit is None:
            hint = checks.nearest(word.lower(), _UNIT_OF)
            unknown = checks.brief(prefix + word)
            raise ValueError(
                f"{name}={checks.brief(given)}: unknown unit {unknown}{hint}; units are {', '.join(UNITS)}"
            )
        return cls(int(value) if value.is_integer() else value, unit)


@checks.explains_arguments
@dataclass(frozen=True, kw_only=True, init=False)
class Horizon:
    """The facts about a run that turn durations into steps.

    Args:
        total_steps: optimizer updates in the whole run, or its length in any unit but ``%``, such as ``"10B tokens"``;
            ``None`` when the run has no known end.
        steps_per_epoch: optimizer updates in an epoch. A sequence gives each epoch its own number, as a change of
            gradient accumulation between epochs does; its last entry goes on for later epochs, so it is kept without
            repeats at its end.
        samples_per_step: samples that one update sees, over all devices and accumulated batches.
        tokens_per_sample: tokens that one sample has; their mean, where samples differ.
        source: where the total came from, in words, for the printed plan; by default its length as it was written.

    Raises:
        HorizonError: the total is given in a unit that needs a fact which is not.
        ValueError: a number is not positive.

    Example:
        >>> run = Horizon(total_steps=1000, steps_per_epoch=100)
        >>> run.steps("5 epochs"), run.steps("10%"), run.steps(7)
        (500, 100, 7)
        >>> Horizon(total_steps="10B tokens", samples_per_step=512, tokens_per_sample=2048).total_steps
        9537
    """

    total_steps: int | None = None
    steps_per_epoch: int | Epochs | None = None
    samples_per_step: int | None = None
    tokens_per_sample: float | None = None
    source: str = ""

    # By hand: more is taken than is kept, where every list of epochs and every total has the one form that can be
    # compared and saved.
    def __init__(
        self,
        *,
        total_steps: int | str | Duration | None = None,
        steps_per_epoch: int | Sequence[int] | None = None,
        samples_per_step: int | None = None,
        tokens_per_sample: float | None = None,
        source: str = "",
    ) -> None:
        epochs = steps_per_epoch if isinstance(steps_per_epoch, Epochs) else checks.plain(steps_per_epoch)
        if isinstance(epochs, Sequence) and not isinstance(epochs, (str, bytes, Epochs)):
            epochs = tuple(epochs)
        samples, tokens = checks.plain(samples_per_step), read_tokens("tokens_per_sample", tokens_per_sample)
        _check_counts("steps_per_epoch", epochs)
        _check_counts("samples_per_step", samples)
        if isinstance(epochs, (tuple, Epochs)):
            epochs = _without_repeats(epochs if isinstance(epochs, Epochs) else Epochs.of(epochs))
        facts = {"steps_per_epoch": epochs, "samples_per_step": samples, "tokens_per_sample": tokens}
        vars(self).update(total_steps=None, **facts, source=checks.plain(source))  # frozen: past its __setattr__
        total = read_total(total_steps)
        if isinstance(total, Duration):
            written = "" if total.unit == "steps" else str(total_steps).strip()
            vars(self).update(total_steps=self.steps(total, "total_steps"), source=self.source or written)
        else:
            vars(self).update(total_steps=total)

    @classmethod
    def of(cls, given: Horizon | int | str) -> Horizon:
        """Return a horizon as it is, and for a number of updates, ``1000`` or ``"1000 steps"``, that of such a run.

        Raises:
            TypeError: it is something else.
            ValueError: the number is not positive, or cannot be read.
        """
        if isinstance(given, cls):
            return given
        given = checks.plain(given)
        if isinstance(given, str) and (length := Duration.parse(given, "horizon", minimum=1)).unit == "steps":
            given = length.value  # type: ignore[assignment]
        if not isinstance(given, int) or isinstance(given, bool):
            raise TypeError(
                f"horizon={checks.brief(given)}: must be the facts about a run, as in Horizon(total_steps=1000, "
                "steps_per_epoch=100), or its number of updates, as in 1000"
            )
        return cls(total_steps=given)

    def describe(self) -> dict[str, Any]:
        """Return the facts as plain numbers, strings and lists, for checkpoints."""
        epochs = self.steps_per_epoch
        return {
            "total_steps": self.total_steps,
            "steps_per_epoch": list(epochs) if isinstance(epochs, Epochs) else epochs,
            "samples_per_step": self.samples_per_step,
            "tokens_per_sample": self.tokens_per_sample,
            "source": self.source,
        }

    def steps(self, duration: int | str | Duration, name: str = "duration", times: float = 1) -> int:
        """Return the length of ``times`` x ``duration`` in whole steps.

        Rounded half up; a positive length lasts at least one step.

        Raises:
            HorizonError: the unit needs a fact that this run does not have.
        """
        return _in_whole(self._exact(Duration.parse(duration, name), name, times), times)

    def every(self, duration: int | str | Duration, name: str = "duration", growth: float = 1.0) -> range | Marks:
        """Return the positions at which ``duration`` has passed once, twice, ... from the start of training.

        Where all are equally far apart, a ``range`` without end. Others, such as half an epoch of 13 steps or epochs
        of different lengths, are rounded each from the start, so that no drift builds up; they go up to the first one
        beyond the end of the run, or on for ever where that is not known.

        Args:
            duration: the first stretch.
            name: what it is called where it was typed; used in messages.
            growth: each further stretch is so many times as long as the one before, at least 1.
        """
        parsed = Duration.parse(duration, name, minimum=1)
        epochs = self.steps_per_epoch if parsed.unit == "epochs" else None
        step, exact = self.steps(parsed, name), self._exact(parsed, name, 1)
        # Update `step - 1` is the last of the first stretch, update `step` the first of the second. A stretch that is
        # shorter than a step lasts one step.
        if growth == 1 and not isinstance(epochs, Epochs) and (exact < 1 or math.isclose(exact, step)):
            return range(step, FOREVER, step)

        def position_of(count: int) -> int:
            times = _times(count, growth)
            return _in_whole(self._exact(parsed, name, times), times)

        def about(position: int) -> float:
            times = epochs.passed(position) / parsed.value if isinstance(epochs, Epochs) else position / exact
            return _count(min(times, position), growth)  # a stretch lasts at least a step

        return Marks(position_of, about, self.total_steps)

    def part(self, start: int, length: int | None) -> Horizon:
        """Return the facts about a part of the run: ``length`` updates from position ``start`` on.

        Its epochs have the lengths of the run's epochs from the one that holds ``start`` on.
        """
        epochs = self.steps_per_epoch
        if isinstance(epochs, Epochs):
            first = epochs.epoch_of(start)
            epochs = epochs.between(first, max(first + 1, len(epochs)))
        return replace(self, total_steps=length, steps_per_epoch=epochs)

    def from_end(self) -> Horizon:
        """Return the facts about the run as seen from its end, for lengths that are counted back from there."""
        epochs = self.steps_per_epoch
        if not isinstance(epochs, Epochs) or self.total_steps is None:
            return self
        last = epochs.epoch_of(self.total_steps - 1)  # update T - 1 is the last of the run
        return replace(self, steps_per_epoch=Epochs(reversed(epochs.between(0, last + 1).runs)))

    def _exact(self, duration: Duration, name: str, times: float) -> float:
        """Length of ``times`` x ``duration`` in steps, before rounding."""
        value = duration.value * times
        if duration.unit == "steps":
            return value
        if duration.unit == "%":
            return value * self.need_total(f"{name}={str(duration)!r}") / 100
        if duration.unit in ("samples", "tokens"):
            size = float(self._need("samples_per_step", duration, name))
            return value / (
                size * self._need("tokens_per_sample", duration, name) if duration.unit == "tokens" else size
            )
        epochs = self._need("steps_per_epoch", duration, name)
        exact: float = epochs.until(value) if isinstance(epochs, Epochs) else value * epochs
        return exact

    def _need(self, fact: str, duration: Duration, name: str) -> Any:
        value = getattr(self, fact)
        if value is None:
            raise HorizonError(f"{name}={str(duration)!r}", fact)
        return value

    def need_total(self, who: str) -> int:
        """Return the total number of updates.

        Args:
            who: what needs to know; named in the error.

        Raises:
            HorizonError: the run has no known end.
        """
        if self.total_steps is None:
            raise HorizonError(who, "total_steps", self.source)
        return self.total_steps

    def epoch_of(self, position: int) -> int | None:
        """Return the epoch (from 0) that holds the update at ``position``."""
        epochs = self.steps_per_epoch
        # Updates 0 to s - 1 are of epoch 0, update s is the first of epoch 1.
        if isinstance(epochs, Epochs):
            return epochs.epoch_of(position)
        return None if epochs is None else position // epochs


def _advice_on(fact: str) -> str:
    """What to do about a missing fact, said to somebody who made the Horizon; others say it their way."""
    given = f"Horizon({fact}={EXAMPLES[fact]})"
    return (
        f"Give it: {given}"
        if fact == "total_steps"
        else f"Give it, {given}, or write the length in steps ('500 steps')"
    )


class Marks(Sequence[int]):
    """Positions in rising order, each worked out when asked for, so that a million of them cost no more than one.

    Args:
        position_of: count -> the position at which the count-th stretch ends.
        about: position -> how many stretches have ended by then; it may be one off.
        end: the positions go up to the first one beyond it; ``None`` for positions without end.
    """

    def __init__(self, position_of: Callable[[int], int], about: Callable[[int], float], end: int | None) -> None:
        self._position_of, self._about = position_of, about
        self._latest = (0, 0, 0)
        self._count = FOREVER if end is None else self.around(end)[0] + 1

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> int:  # type: ignore[override]  # no slices
        return self._position_of(range(self._count)[index] + 1)

    def around(self, position: int) -> tuple[int, int, int]:
        """Return how many of them a position has reached, the last of these (0 for none) and the next one."""
        _, since, until = latest = self._latest
        if since <= position < until:  # nearly always: positions are asked for one after another
            return latest
        position = min(position, FOREVER - 1)
        count = max(int(self._about(position)), 0)
        since, until = self._position_of(count) if count else 0, self._position_of(count + 1)
        while until <= position:
            count, since, until = count + 1, until, self._position_of(count + 2)
        while since > position:
            count, since, until = count - 1, self._position_of(count - 1) if count > 1 else 0, since
        self._latest = latest = (count, since, until)  # replaced as a whole: another thread may ask too
        return latest


def _in_whole(exact: float, times: float) -> int:
    """A length in whole steps."""
    # 4.6 % of 750 is 34.5, and 34.49999999999999 in floats.
    whole = math.floor(round(exact, 6) + 0.5)
    # At least one step each time: a warmup of "0.01 epochs" must not vanish because epochs are short.
    return max(whole, math.floor(times)) if exact > 0 else 0


def _times(count: int, growth: float) -> float:
    """How long ``count`` stretches are together, in units of the first: 1 + growth + growth^2 + ..."""
    if growth == 1:
        return count
    if (count - 1) * math.log(growth) > _GROWN:  # further than any run, and perhaps than any float
        return FOREVER
    return (growth**count - 1) / (growth - 1)


def _count(times: float, growth: float) -> float:
    """How many stretches that is: the other way round of ``_times``."""
    return times if growth == 1 else math.log1p(times * (growth - 1)) / math.log1p(growth - 1)


def read_total(given: Any) -> Any:
    """Read the total of a run: a whole number of updates or ``None`` is returned as it is, a string as its length.

    Raises:
        ValueError: it is neither a positive number of updates nor a positive length, or a share of itself.
    """
    given = checks.plain(given)
    if not isinstance(given, (str, Duration)):
        _check_counts("total_steps", given)
        return given
    length = Duration.parse(given, "total_steps", minimum=1)
    if length.unit == "%":
        raise ValueError(
            f"total_steps={checks.brief(given)}: percent of what? Give a number of updates, as in total_steps=1000, "
            "or a length in another unit, as in total_steps='90 epochs'"
        )
    return length


def read_tokens(name: str, given: Any) -> float | None:
    """Read how many tokens a sample has: a positive number, which need not be whole, or ``None``.

    Raises:
        ValueError: it is neither; with the ``name`` of what was given.
    """
    given = checks.plain(given)
    if given is not None:
        checks.number(name, given, 0, checks.MOST, above=True)
    return int(given) if isinstance(given, float) and given.is_integer() else given


def _check_counts(name: str, given: Any) -> None:
    """Refuse a fact that is neither a whole number, or several, nor ``None``."""
    for number in () if given is None else _entries(given):
        if not checks.is_whole(number):
            raise ValueError(f"{name}={checks.brief(given)}: must be a whole number of at least 1, or None")
        checks.countable(name, number, given)


def _entries(fact: Any) -> Sequence[Any]:
    """The numbers that a fact is made of; of equal epochs in a row, one."""
    if isinstance(fact, Epochs):
        return [updates for _, updates in fact.runs]
    return fact if isinstance(fact, tuple) else (fact,)


def _without_repeats(epochs: Epochs) -> int | Epochs | None:
    """Lengths of epochs up to the last change: the last entry stands for all that follow."""
    if len(epochs.runs) < 2:
        return epochs[0] if epochs else None
    return epochs.between(0, len(epochs) - epochs.runs[-1][0] + 1)


def _of_what(given: float | str, value: float, name: str) -> str:
    """The question to somebody who gave a number that is not whole, or not written as one, and no unit."""
    guess = f"{value * 100:g}%" if 0 < value <= 1 else "10%"
    if 1 < value < math.inf:
        guess = f"{value:g} {'steps' if value.is_integer() else 'epochs'}"
    typed = checks.brief(given)
    bare = typed.strip("'")
    return f"{name}={typed}: {bare} of what? Write {guess!r}, or {_LENGTHS}"


def _is_duration(given: Any) -> TypeGuard[Duration]:
    """Whether it is one of ours, and somebody who made it by hand gave it a number and a unit."""
    if not isinstance(given, Duration) or isinstance(given.value, bool):
        return False
    return isinstance(given.value, (int, float)) and isinstance(given.unit, str) and given.unit in UNITS


def _is_whole(text: str) -> bool:
    return text.lstrip("+-").replace("_", "").isdigit()
