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
from typing import Any, NamedTuple, TypeGuard

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
    "seconds": ("seconds", "second", "sec", "s"),
    "minutes": ("minutes", "minute", "min"),
    "hours": ("hours", "hour", "h"),
    "days": ("days", "day", "d"),
}
_UNIT_OF = {name: unit for unit, names in UNITS.items() for name in names}
# A run that follows the clock has a position for each millisecond.
_TICKS = {"seconds": 1000, "minutes": 60_000, "hours": 3_600_000, "days": 86_400_000}
_TIME_UNITS = (("d", "days"), ("h", "hours"), ("min", "minutes"), ("s", "seconds"))
_PREFIXES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
# A number, a prefix, a unit: "100k samples". A prefix may stand alone ("10k" are 10,000 steps), and the spaces may go
# ("5ep").
_PATTERN = re.compile(r"\s*([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([kKMGBT]?)\s*([^\W\d]*|%)\s*")
# Fact -> a value that somebody may give.
EXAMPLES = {
    "total_steps": 1000,
    "steps_per_epoch": 100,
    "samples_per_step": 256,
    "tokens_per_sample": 2048,
    "max_time": "8h",
}
_GROWN = math.log(FOREVER)
_LENGTHS = "'500 steps', '5 epochs', '10%', '100k samples', '500M tokens' or a whole number of steps"


class _Need(NamedTuple):
    """What a missing fact is needed for, and how a run is without it."""

    what: str
    lacks: str


_NEEDS = {
    "total_steps": _Need("to know how many updates the run will do", "has no known end"),
    "max_time": _Need("a run that follows the clock", "counts updates"),
}


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
        lacks = "which this run does not have"
        if self.fact in _NEEDS:
            lacks = f"and this run {_NEEDS[self.fact].lacks}"
        because = f" ({self.why})" if self.why else ""
        return f"{self.needs}, {lacks}{because}. {self.advice}"

    @property
    def needs(self) -> str:
        """Who needs what, without the advice."""
        return f"{self.who} needs {_NEEDS[self.fact].what if self.fact in _NEEDS else self.fact}"

    def advised(self, advice: str) -> HorizonError:
        """Return the same error with other advice."""
        return HorizonError(self.who, self.fact, self.why, advice)


@dataclass(frozen=True)
class Duration:
    """A length with its unit.

    Args:
        value: how many units; never negative.
        unit: ``"steps"``, ``"epochs"``, ``"%"`` (of the total number of updates), ``"samples"``, ``"tokens"``,
            ``"seconds"``, ``"minutes"``, ``"hours"`` or ``"days"``.

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
        timed: whether the run follows the clock and not its updates: then positions count milliseconds, and lengths are
            shares of the run or times. It is set by ``max_time``.
        max_time: how long such a run is, in the place of a total, as in ``"8h"``.

    Raises:
        HorizonError: the total is given in a unit that needs a fact which is not.
        ValueError: a number is not positive.

    Example:
        >>> run = Horizon(total_steps=1000, steps_per_epoch=100)
        >>> run.steps("5 epochs"), run.steps("10%"), run.steps(7)
        (500, 100, 7)
        >>> Horizon(total_steps="10B tokens", samples_per_step=512, tokens_per_sample=2048).total_steps
        9537
        >>> run = Horizon(max_time="8h")
        >>> run.in_words(run.steps("5%")), run.in_words(run.steps("90 minutes"))
        ('24 min', '1 h 30 min')
    """

    total_steps: int | None = None
    steps_per_epoch: int | Epochs | None = None
    samples_per_step: int | None = None
    tokens_per_sample: float | None = None
    source: str = ""
    timed: bool = False

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
        timed: bool = False,
        max_time: str | Duration | None = None,
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
        checks.flag("timed", timed)
        # Frozen: past its own __setattr__.
        vars(self).update(total_steps=None, **facts, source=checks.plain(source), timed=timed)
        if max_time is not None:
            self._take_time(max_time, {"total_steps": total_steps, **facts})
            return
        total = read_total(total_steps)
        if isinstance(total, Duration):
            written = "" if total.unit == "steps" else str(total_steps).strip()
            vars(self).update(total_steps=self.steps(total, "total_steps"), source=self.source or written)
        else:
            vars(self).update(total_steps=total)

    def _take_time(self, max_time: Any, others: dict[str, Any]) -> None:
        given = [name for name, value in others.items() if value is not None]
        if given:
            raise ValueError(
                f"max_time={checks.brief(max_time)} beside {given[0]}={checks.brief(others[given[0]])}: a run follows "
                "the clock or counts updates, so leave one of them out"
            )
        length = Duration.parse(max_time, "max_time", minimum=1)
        if length.unit not in _TICKS:
            raise ValueError(
                f"max_time={checks.brief(max_time)}: must be a time, as in max_time='8h' or max_time='90 minutes'"
            )
        vars(self).update(timed=True, total_steps=_in_whole(length.value * _TICKS[length.unit], 1))

    @classmethod
    def of(cls, given: Horizon | int | str) -> Horizon:
        """Return a horizon as it is, and for a number of updates, ``1000`` or ``"1000 steps"``, that of such a run.

        A time, such as ``"8h"``, is a run that follows the clock.

        Raises:
            TypeError: it is something else.
            ValueError: the number is not positive, or cannot be read.
        """
        if isinstance(given, cls):
            return given
        given = checks.plain(given)
        if isinstance(given, str):
            length = Duration.parse(given, "horizon", minimum=1)
            if length.unit in _TICKS:
                return cls(max_time=length)
            given = length.value if length.unit == "steps" else given  # type: ignore[assignment]
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
            "timed": self.timed,
        }

    def in_words(self, position: int) -> str:
        """Return how far a position is from the start: ``"1,000 updates"``, or of a run that follows the clock a time.

        Example:
            >>> Horizon().in_words(1000), Horizon(max_time="8h").in_words(5_400_000)
            ('1,000 updates', '1 h 30 min')
        """
        return self.mark(position) if self.timed else checks.counted(position, "update")

    def lasting(self, positions: float) -> Duration:
        """Return the duration that is so many positions long."""
        return Duration(positions / _TICKS["seconds"], "seconds") if self.timed else Duration(positions, "steps")

    def mark(self, position: int) -> str:
        """Return a position as ``in_words`` does, without the word for updates."""
        return _time_in_words(position) if self.timed else f"{position:,}"

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
        if duration.unit == "%":
            return value * self.need_total(f"{name}={str(duration)!r}") / 100
        if duration.unit in _TICKS or not value:
            return value * self._ticks_of(duration, name)
        if self.timed:
            raise ValueError(
                f"{name}={str(duration)!r} counts {duration.unit}, and this run follows the clock: write a time, as in "
                "'30 minutes', or a share of the run, as in '5%'"
            )
        if duration.unit == "steps":
            return value
        if duration.unit in ("samples", "tokens"):
            size = float(self._need("samples_per_step", duration, name))
            return value / (
                size * self._need("tokens_per_sample", duration, name) if duration.unit == "tokens" else size
            )
        epochs = self._need("steps_per_epoch", duration, name)
        exact: float = epochs.until(value) if isinstance(epochs, Epochs) else value * epochs
        return exact

    def _ticks_of(self, duration: Duration, name: str) -> int:
        """Positions in one of its units; nothing is as long in all of them."""
        if duration.value and not self.timed:
            raise HorizonError(f"{name}={str(duration)!r}", "max_time")
        return _TICKS.get(duration.unit, 0)

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
    given = f"Horizon({fact}={EXAMPLES[fact]!r})"
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
    if length.unit in _TICKS:
        raise ValueError(f"total_steps={checks.brief(given)} is a time: give max_time={checks.brief(given)} instead")
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


def _time_in_words(ticks: int) -> str:
    """A time in its two largest units, ``"1 h 30 min"``; seconds with their fraction."""
    parts: list[str] = []
    for short, unit in _TIME_UNITS:
        count, rest = divmod(ticks, _TICKS[unit])
        if unit == "seconds" and (ticks or not parts):
            parts.append(f"{ticks / _TICKS[unit]:g} {short}")
        elif count:
            parts.append(f"{count} {short}")
        ticks = rest
    return " ".join(parts[:2])


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
