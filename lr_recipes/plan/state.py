"""What a saved state must look like: it is checked as a whole before anything of it is used.

A checkpoint may be damaged, edited by hand, or of something else. Whoever saves a state describes it as a *form*: which
kind of value each part is, and which parts must agree. A state of that form can be gone on from; of any other one it is
said which part is wrong. Parts that a form does not name are passed over: a later version may save more.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lr_recipes import checks

_DEEP = 50  # lists and dicts within each other; a schedule that is made of others takes two for each


class ResumeError(ValueError):
    """A saved state cannot be gone on from: it is damaged, or its plan is not this run's and nobody has chosen."""


class Form(Protocol):
    """What a value must look like."""

    def fault(self, value: Any, where: str = "") -> str:
        """Return in words what is wrong with a value, and nothing where it is all right.

        Args:
            value: what was saved.
            where: which part of the state it is, as in ``"optimizers.SGD"``; nothing for the state itself.
        """


@dataclass(frozen=True)
class Value:
    """A single value: what it must be, in words, and whether one is that."""

    words: str
    fits: Callable[[Any], bool]

    def fault(self, value: Any, where: str = "") -> str:
        return "" if self.fits(value) else _must_be(where, value, self.words)


@dataclass(frozen=True)
class Maybe:
    """A value, or ``None``."""

    form: Form

    def fault(self, value: Any, where: str = "") -> str:
        return "" if value is None else self.form.fault(value, where)


@dataclass(frozen=True)
class ListOf:
    """A list of values of one form."""

    form: Form

    def fault(self, value: Any, where: str = "") -> str:
        if not isinstance(value, (list, tuple)):
            return _must_be(where, value, "a list")
        return next(filter(None, (self.form.fault(one, f"{where}[{n}]") for n, one in enumerate(value))), "")


@dataclass(frozen=True)
class ByName:
    """A dict of values of one form, under names or numbers of anybody's."""

    key: Value
    form: Form

    def fault(self, value: Any, where: str = "") -> str:
        if not isinstance(value, dict):
            return _must_be(where, value, "a dict")
        faults = (
            self.key.fault(name, f"a key of {where}") or self.form.fault(one, f"{where}[{checks.brief(name)}]")
            for name, one in value.items()
        )
        return next(filter(None, faults), "")


@dataclass(frozen=True)
class Entries:
    """A dict with parts of known names.

    Args:
        needed: the parts that must be there.
        more: parts that not every version saves.
        agree: what is wrong with the parts together, in words; asked once each is all right by itself.
    """

    needed: Mapping[str, Form]
    more: Mapping[str, Form] = field(default_factory=dict)
    agree: Callable[[dict[str, Any]], str] = lambda state: ""

    def fault(self, value: Any, where: str = "") -> str:
        if not isinstance(value, dict):
            return _must_be(where, value, f"a dict with {', '.join(self.needed)}")
        within = f"{where}." if where else ""
        for name, form in {**self.needed, **self.more}.items():
            if name not in value and name in self.needed:
                return f"{within}{name} is missing"
            wrong = form.fault(value[name], f"{within}{name}") if name in value else ""
            if wrong:
                return wrong
        wrong = self.agree(value)
        return f"{within}{wrong}" if wrong else ""


def _must_be(where: str, value: Any, words: str) -> str:
    return f"{where or 'it'} is {checks.brief(value)}, and must be {words}"


def damaged(fault: str, what: str = "checkpoint", ways: str = "") -> ResumeError:
    """Return the error that says what is wrong with a saved state.

    Args:
        fault: what, in words.
        what: what was saved, and where.
        ways: what to do, other than to take another one.
    """
    return ResumeError(f"the {what} is damaged: {fault}. Take another checkpoint{ways and f'; or {ways}'}")


def checksum_of(values: Any) -> int:
    """Return a number that others than these values would hardly have; -1 where they are not plain."""
    try:
        return zlib.crc32(json.dumps(values).encode())
    except (TypeError, ValueError, RecursionError):
        return -1


def equal_lrs(some: Sequence[float], others: Sequence[float], bases: Sequence[float]) -> bool:
    """Whether LRs are equal, but for how another C library or torch rounds what it multiplies the bases by."""
    return len(some) == len(others) and all(map(_equal_lr, some, others, bases))


def _equal_lr(one: float, other: float, base: float) -> bool:
    both_nan = one != one and other != other
    return one == other or both_nan or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12 * abs(base))


# Values


def can_be_saved(value: Any, deep: int = _DEEP) -> bool:
    """Whether a value is made of numbers, strings, lists and dicts, as what a checkpoint holds."""
    if isinstance(value, dict):
        return deep > 0 and all(isinstance(k, (str, int)) and can_be_saved(v, deep - 1) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return deep > 0 and all(can_be_saved(one, deep - 1) for one in value)
    return value is None or isinstance(value, (str, float, bool)) or checks.is_finite(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or checks.is_finite(value)


def whole(least: int) -> Value:
    """A whole number, no larger than any run has updates."""
    return Value(
        f"a whole number from {least} to {checks.MOST:,}",
        lambda value: checks.is_whole(value, least) and value <= checks.MOST,
    )


COUNT, LENGTH = whole(0), whole(1)
NUMBER = Value("a number", _is_number)  # infinity and not-a-number are some
AMOUNT = Value("a positive number", lambda value: checks.is_finite(value) and 0 < value <= checks.MOST)
MILLISECONDS = Value(
    "a number of milliseconds, at least 0", lambda value: checks.is_finite(value) and 0 <= value <= checks.MOST
)
TEXT = Value("a string", lambda value: isinstance(value, str))
FLAG = Value("true or false", lambda value: isinstance(value, bool))
# Of parameters of 32 bits, torch refuses to step by more.
RATE = Value("a number of at most 3.4e+38", lambda value: checks.is_finite(value) and abs(value) <= 3.4e38)


def _is_start(value: Any) -> bool:
    """Epoch, updates that the loop had counted, and those of them in this epoch: the fields of a ``Start``."""
    return not ListOf(COUNT).fault(value) and len(value) == 3 and value[2] <= value[1]


START = Value("an epoch, the updates until then, and those of them in this epoch", _is_start)

# What a plan is saved as

_SCHEDULE = Value(
    "a description of a schedule: its name and its knobs as plain values",
    lambda value: isinstance(value, dict) and isinstance(value.get("schedule"), str) and can_be_saved(value),
)
_EPOCHS = Value(
    "a whole number of updates, or a list with that of each epoch",
    lambda value: not ListOf(LENGTH).fault(value if isinstance(value, (list, tuple)) and value else [value]),
)
_HORIZON = Entries(
    {
        "total_steps": Maybe(LENGTH),
        "steps_per_epoch": Maybe(_EPOCHS),
        "samples_per_step": Maybe(LENGTH),
        "source": TEXT,
    },
    {"tokens_per_sample": Maybe(AMOUNT), "timed": FLAG},
)
PLAN_ENTRIES: dict[str, Form] = {"schedule": _SCHEDULE, "base_lrs": ListOf(RATE), "peak": RATE, "horizon": _HORIZON}
_BY_KEY = ByName(TEXT, ListOf(Maybe(RATE)))
_BUILT_WITH = Entries({"names": ListOf(TEXT), "others": _BY_KEY, "peaks": _BY_KEY})


def _built_agrees(state: dict[str, Any]) -> str:
    """What is wrong with what a plan says of each group: all of it is of the same groups."""
    if "built" not in state:  # of a plan that has one curve for all groups
        return ""
    built, count = state["built"], len(state["base_lrs"])
    lists = [("names", built["names"]), *built["others"].items(), *built["peaks"].items()]
    odd = [(name, values) for name, values in lists if len(values) != count]
    return _must_be(f"built, {odd[0][0]},", odd[0][1], f"of {count} groups") if odd else ""


PLAN = Entries({"position": COUNT, **PLAN_ENTRIES}, {"cycles_momentum": FLAG, "built": _BUILT_WITH}, _built_agrees)


# What a schedule that is carried out is saved as


def _positions_agree(state: dict[str, Any]) -> str:
    missing = [name for name in SAID_TWICE if name not in state]
    if missing and len(missing) < len(SAID_TWICE):
        return f"{missing[0]} is missing"
    held, position = state["refreshed_at"], state["position"]
    if held > position:
        return _must_be("refreshed_at", held, f"at most the position, {position}")
    if state.get("every_update") and held != position:
        return _must_be("refreshed_at", held, f"the position, {position}: the LR was refreshed at every update")
    if state["horizon"].get("timed", False) != ("pace" in state):
        return "pace is missing" if "pace" not in state else "pace is of a run that follows the clock, and this is none"
    if "pace" in state and state["pace"]["held"] > state["pace"]["progress"]:
        return _must_be("pace.held", state["pace"]["held"], f"at most pace.progress, {state['pace']['progress']:g}")
    return _built_agrees(state) or _moved_agrees(state)


def _moved_agrees(state: dict[str, Any]) -> str:
    """What is wrong with the numbers that a plan moves beside the LR: they are said as built, and as they are next."""
    moved = state.get("built", {}).get("others", {})
    if not moved or set(moved) == set(state.get("next_others", ())):
        return ""
    return _must_be("next_others", state.get("next_others"), f"of {', '.join(moved)}")


# Where a run that follows the clock is, in milliseconds; `held` is where the LR was written that the groups have.
_PACE = Entries({"progress": MILLISECONDS, "increment": MILLISECONDS, "held": COUNT})
# What is in it is known to the schedule that reacts.
_SEEN = Value("a dict with what a schedule has seen of its metric", lambda value: isinstance(value, dict))
# What follows from the rest; 0.1.0 saved none of it.
SAID_TWICE: dict[str, Form] = {"every_update": FLAG, "next_lrs": ListOf(NUMBER), "end_factor": NUMBER}
BOUND = Entries(
    {"position": COUNT, "refreshed_at": COUNT, **PLAN_ENTRIES, "cycles_momentum": FLAG, "plateau": Maybe(_SEEN)},
    {
        **SAID_TWICE,
        "built": _BUILT_WITH,
        "next_others": _BY_KEY,
        "built_lrs": ListOf(RATE),
        "start": START,
        "pace": _PACE,
    },
    _positions_agree,
)
