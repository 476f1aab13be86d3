"""Schedules by name: those of ``conf/schedule``, also by the names of their classes.

A name gives every knob its value of that file; what shall be otherwise is written as a schedule, ``Cosine(warmup=10)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from lr_recipes import checks
from lr_recipes.schedules.base import Schedule
from lr_recipes.schedules.catalogue import (
    Cosine,
    Exponential,
    Fixed,
    InverseSqrt,
    InverseTime,
    Linear,
    MultiStep,
    OneCycle,
    Polynomial,
    Power,
    Rex,
    Step,
    WarmupStableDecay,
)
from lr_recipes.schedules.cycles import CosineRestarts, Cyclic
from lr_recipes.schedules.drawn import Custom, Piecewise, Ramp
from lr_recipes.schedules.plateau import Plateau

# The files say the same, with a comment on every knob; `tests/test_conf.py` holds both together.
NAMED: dict[str, Schedule] = {
    "cosine": Cosine(),
    "cosine_restarts": CosineRestarts(cycle="25%"),
    "custom": Custom(function="math.cos"),
    "cyclic": Cyclic(cycle="20%", min_lr_ratio=0.1),
    "exponential": Exponential(gamma=0.9),
    "fixed": Fixed(),
    "infinite": Piecewise(
        warmup="1%",
        milestones=["1%", "25%", "85%", "100%"],
        factors=[1.0, 0.5, 0.5, 0.05],
        interpolation=["cosine", "linear", "exponential"],
    ),
    "inverse_sqrt": InverseSqrt(warmup="1 epoch"),
    "inverse_time": InverseTime(timescale="1 epoch"),
    "linear": Linear(),
    "multistep": MultiStep(milestones=["50%", "75%"]),
    "one_cycle": OneCycle(),
    "piecewise": Piecewise(milestones=["0%", "30%", "80%", "100%"], factors=[1.0, 0.5, 0.5, 0.05]),
    "plateau": Plateau(),
    "polynomial": Polynomial(power=2.0),
    "power": Power(timescale="10%", decay="10%"),
    "ramp": Ramp(end=0.1),
    "rex": Rex(),
    "step": Step(step_size="10 epochs"),
    "warmup_constant": Fixed(warmup="1 epoch"),
    "warmup_cosine": Cosine(warmup="5%"),
    "warmup_linear": Linear(warmup="5%"),
    "warmup_plateau": Plateau(warmup="1 epoch"),
    "warmup_stable_decay": WarmupStableDecay(warmup="5%", decay="20%"),
    "warmup_step": Step(warmup="5%", step_size="30%"),
}

# The type of a parameter that takes a name. LightningCLI learns the names from it, and so refuses a misspelt one, or a
# misspelt knob beside a right one, where it reads what was typed: with a sentence of each way in, and no traceback. A
# program may write one otherwise, as ``OneCycle``, or have it in a variable.
if TYPE_CHECKING:
    Name = str
else:
    Name = Literal[tuple(NAMED)]


def schedule_named(name: str, what: str = "schedule") -> Schedule:
    """Return the schedule of a name: of a file of ``conf/schedule``, or of a class, which is the file of that name.

    Args:
        name: what was given.
        what: what it was given for.

    Raises:
        ValueError: there is none of this name; the message lists those that there are.

    Example:
        >>> schedule_named("warmup_cosine"), schedule_named("OneCycle")
        (Cosine(warmup='5%'), OneCycle())
    """
    known = {_letters(one): one for one in NAMED}
    if _letters(name) not in known:
        typed, near = checks.brief(name).strip("'"), checks.nearest(name.lower(), NAMED)
        raise ValueError(f"{what}={typed} is unknown{near}; choose one of {', '.join(NAMED)}")
    return NAMED[known[_letters(name)]]


def as_schedule(given: Any, what: str = "schedule") -> Any:
    """Return a schedule for its name; anything else as it is.

    Raises:
        ValueError: see ``schedule_named``.
    """
    return schedule_named(given, what) if isinstance(given, str) else given


def _letters(name: str) -> str:
    """What names are told apart by: ``OneCycle`` and ``one_cycle`` are one."""
    return name.replace("_", "").replace("-", "").lower()
