"""What every schedule is made of: a warmup, perhaps a floor, checks of its fields, and how it becomes a plan.

A schedule is a frozen description whose lengths carry units. ``schedule.resolve(horizon)`` turns it into a
:class:`~lr_recipes.plan.curve.Curve`, and ``curve(n)`` is the factor that update ``n`` (counted from 0) multiplies each
group's own base LR by.

What a single schedule does stands in ``catalogue.py``, ``plateau.py`` and ``from_torch.py``; how warmup, shape and end
are joined, in ``plan/curve.py``. torch is imported where a schedule is bound, and not before.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections import abc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from lr_recipes import checks
from lr_recipes.plan.built import Built
from lr_recipes.plan.curve import Curve, Factor, Shape
from lr_recipes.plan.horizon import Duration, Horizon
from lr_recipes.plan.plan import Plan, Reaction
from lr_recipes.plan.state import can_be_saved
from lr_recipes.schedules.frozen import Frozen, kinds_of

if TYPE_CHECKING:
    from lr_recipes.optimizer.follow import BoundSchedule

Length = int | str

WARMUP_TYPES = ("linear", "cosine", "exponential", "constant")
_OR_OURS = "or follow this run's own with resume='config'"  # said of a schedule that a checkpoint describes


class Span(NamedTuple):
    """What a shape is made for.

    Args:
        warmup: updates of the warmup.
        floor: the lowest factor, a ratio of the peak.
        horizon: the facts about the run.
        peak: the largest base LR of the optimizer, where it is known; for settings that are LRs and not ratios.
    """

    warmup: int
    floor: float
    horizon: Horizon
    peak: float | None

    @property
    def total(self) -> int | None:
        """Updates in the run; ``None`` when it has no known end."""
        return self.horizon.total_steps

    def after_warmup(self, who: str) -> int:
        """Return the updates from the end of the warmup to the end of the run, at least 1.

        A run that is all warmup decays over one update that it never does.

        Args:
            who: what needs to know; named in the error.

        Raises:
            HorizonError: the run has no known end.
        """
        # Update W has progress 0, so it still uses the peak. Update T - 1, the last, is one step short of the floor,
        # which update T would use; so it is with torch's schedulers.
        return max(self.horizon.need_total(who) - self.warmup, 1)


@dataclass(frozen=True, kw_only=True, repr=False)
class Schedule(Frozen):
    """What every schedule has: a warmup that multiplies whatever comes after it.

    With ``r = (t + 1) / W``, or ``r = t / W`` when ``warmup_start_factor`` ``s`` is given (else ``s`` is 0 for
    ``linear`` and ``cosine``, 1 / W for ``exponential``, 1 / 3 for ``constant``), the warmup's factor at ``t < W`` is

    - ``linear``: s + (1 - s) r, so by default the first update uses 1 / W and update W - 1 exactly 1
    - ``cosine``: s + (1 - s) (1 - cos(pi r)) / 2
    - ``exponential``: s^(1 - r)
    - ``constant``: s

    Args:
        warmup: length of the warmup, a duration; 0 for none.
        warmup_type: ``"linear"``, ``"cosine"``, ``"exponential"`` or ``"constant"``.
        warmup_start_factor: factor of the very first update, in [0, 1]; ``None`` for the type's default.

    Raises:
        ValueError: a value is of the wrong kind or out of its range; the message says which range.
    """

    # A field, so that whatever lists the fields, as loggers do with hyper-parameters, says which schedule it is.
    schedule: str = field(init=False, repr=False, compare=False)
    warmup: int | str = 0  # a Length, in builtins: jsonargparse 4.39 reads it as of the class that inherits it
    warmup_type: str = "linear"
    warmup_start_factor: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "schedule", type(self).__name__)
        for one in dataclasses.fields(self):  # the class is frozen; this is still its construction
            object.__setattr__(self, one.name, checks.plain(getattr(self, one.name)))
        self.check_length("warmup")
        self.check_one_of("warmup_type", WARMUP_TYPES)
        self.check_number("warmup_start_factor", 0, 1)
        if self.warmup_type == "exponential" and self.warmup_start_factor == 0:
            raise ValueError("warmup_start_factor=0: an exponential warmup must start above 0, for example at 0.01")

    def __repr__(self) -> str:
        # As somebody would write it: messages quote schedules, and defaults would bury what was chosen.
        given = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self) if f.repr and self._is_set(f))
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in given)})"

    def _is_set(self, field: dataclasses.Field[Any]) -> bool:
        made = field.default_factory
        return bool(getattr(self, field.name) != (field.default if made is dataclasses.MISSING else made()))

    def describe(self) -> dict[str, Any]:
        """Return the schedule as plain numbers, strings, lists and dicts, for checkpoints and comparisons."""
        return {f.name: _to_plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    def resolve(self, horizon: Horizon | int | str, peak: float | None = None) -> Curve:
        """Turn lengths into whole steps and return the curve.

        Args:
            horizon: the facts about the run, or its number of updates.
            peak: the largest base LR of the optimizer; needed only for an absolute ``min_lr``.

        Raises:
            HorizonError: a length or a decay needs a fact that the run does not have.
            ValueError: the warmup or another length does not fit into the run.

        Example:
            >>> from lr_recipes.schedules import Cosine
            >>> curve = Cosine(warmup=10).resolve(Horizon(total_steps=110))
            >>> curve(0), curve(9), curve(60), curve(110)
            (0.1, 1.0, 0.5, 0.0)
        """
        horizon = Horizon.of(horizon)
        curve = self.curve_of(horizon, peak, "the run")
        self.warn_of_warmup(curve, horizon)
        return curve

    def warn_of_warmup(self, curve: Curve, horizon: Horizon) -> None:
        """Warn where more than half of a run is warmup."""
        warmup, total = curve.warmup, curve.total_steps
        if total is not None and warmup * 2 > total:
            warnings.warn(
                f"warmup={self.warmup!r} is {horizon.in_words(warmup)}, and the run does {horizon.mark(total)}: more "
                "than half of the run is warmup. Shorten the warmup or train longer",
                UserWarning,
                stacklevel=3,
            )

    def curve_of(
        self, horizon: Horizon, peak: float | None, whole: str, shape: abc.Callable[[Span], Shape] | None = None
    ) -> Curve:
        """Do what ``resolve`` does, for ``whole``: the run, or a phase, which may be all warmup without a warning.

        Args:
            horizon: the facts about ``whole``.
            peak: see ``resolve``.
            whole: what it is called in an error.
            shape: makes another shape than the schedule's own, such as that of one group.
        """
        warmup, total = horizon.steps(self.warmup, "warmup"), horizon.total_steps
        # A warmup as long as the run is allowed: update W - 1 uses the peak, and is the last.
        if total is not None and warmup > total:
            raise ValueError(
                f"warmup={self.warmup!r} is {horizon.in_words(warmup)}, and {whole} does {horizon.mark(total)}: the "
                "peak LR would never be reached. Shorten the warmup or train longer"
            )
        made = (shape or self.shape)(Span(warmup, self._floor(peak), horizon, peak))
        self._check_shape(made, warmup)
        if warmup and warmup == total:  # no update is the shape's own: the run ends where the warmup leads
            end = self._ramp_end(warmup) * (made.end if made.during_warmup else 1)
            made = made._replace(end=end)
        return Curve(made, self._ramp(warmup), warmup, total)

    def plan(self, horizon: Horizon | int | str, base_lrs: abc.Sequence[float], peak: float | None = None) -> Plan:
        """Return what every update of an optimizer shall use.

        Args:
            horizon: the facts about the run, or its number of updates.
            base_lrs: the base LR of each parameter group; ``Built`` where more is known of them than that.
            peak: what an absolute floor is measured against; by default the largest base LR.

        Raises:
            HorizonError, ValueError: see ``resolve``.
        """
        self._check_saved()
        horizon = Horizon.of(horizon)
        top = Built.of(base_lrs).peak() if peak is None else peak
        return Plan.of(self, horizon, self.resolve(horizon, peak=top), base_lrs, top, self.reaction())

    def bind(self, optimizer: Any, horizon: Horizon | int | str) -> BoundSchedule:
        """Bind the schedule to a torch optimizer, for a plain PyTorch loop; the result is a torch ``LRScheduler``.

        To bind again, as one does in a notebook, takes the place of what was bound before. Pickled or deep-copied
        together with its optimizer, it goes on with the copy.

        Args:
            optimizer: a ``torch.optim.Optimizer``; the peak of each group is its LR of this moment, or the
                ``initial_lr`` that a scheduler has left there, as with torch's own. One that ``OneCycleLR`` has written
                over gets back the LR and the momentum that the optimizer was given.
            horizon: the facts about the run, or its number of updates.

        Raises:
            TypeError: the optimizer is not torch's.
            HorizonError, ValueError: see ``resolve``.

        Example:
            >>> import torch
            >>> from lr_recipes.schedules import Linear
            >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
            >>> scheduler = Linear().bind(optimizer, Horizon(total_steps=10))
            >>> for _ in range(5):
            ...     optimizer.step()
            ...     scheduler.step()
            >>> scheduler.get_last_lr()
            [0.05]
        """
        from lr_recipes.optimizer.as_built import give_back  # torch takes seconds to import
        from lr_recipes.optimizer.clock import check_kind
        from lr_recipes.optimizer.follow import BoundSchedule
        from lr_recipes.optimizer.groups import built_lrs

        check_kind(optimizer)
        give_back(optimizer)
        run = Horizon.of(horizon)
        if run.timed:
            raise ValueError(
                f"horizon={checks.brief(horizon)} follows the clock, which a loop of one's own has nobody to look at: "
                "give the number of updates, as in Horizon(total_steps=1000), or train with a Lightning Trainer and "
                "LearningRateScheduler(..., progress='time')"
            )
        return BoundSchedule.by_hand(self.plan(run, built_lrs(optimizer)), optimizer)

    def read(self, description: dict[str, Any]) -> Schedule:
        """Build any schedule from what its ``describe()`` returned; see ``from_description``."""
        return from_description(description, type(self))

    # What a schedule of one's own defines

    def shape(self, span: Span) -> Shape:
        """Return what the schedule does apart from its warmup.

        Args:
            span: warmup, floor and run, in whole steps.
        """
        raise NotImplementedError(f"{type(self).__name__} must define shape(self, span), which returns a Shape")

    def reaction(self) -> Reaction[Any] | None:
        """Return how the schedule reacts to a metric; ``None`` where it is a function of the position alone."""
        return None

    def _check_saved(self) -> None:
        """Refuse what a checkpoint could not hold now, and not when the first is loaded."""
        odd = [f"{name}={checks.brief(one)}" for name, one in self.describe().items() if not can_be_saved(one)]
        if odd:
            raise ValueError(
                f"{type(self).__name__}: what its describe() returns cannot be saved in a checkpoint: {', '.join(odd)}"
                ". Keep numbers, strings, lists and dicts in its fields, or define describe() and from_fields(fields)"
            )

    def _check_shape(self, shape: Any, warmup: int) -> None:
        who = f"{type(self).__name__}.shape(span)"
        if not isinstance(shape, Shape):
            raise ValueError(f"{who} returned a {type(shape).__name__}: it must return a Shape")
        if not shape.phases:
            raise ValueError(
                f"{who} returned a Shape without a phase: name at least one, the first from update {warmup:,} on"
            )
        name, first = shape.phases[0]
        if first > warmup:
            raise ValueError(
                f"{who}: its first phase, {name!r}, begins at update {first:,}: name the updates before it too, from "
                f"update {warmup:,} on"
            )

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Schedule:
        """Build a schedule of this class from the fields that ``describe()`` returned."""
        return cls(**fields)

    def _floor(self, peak: float | None) -> float:
        return 0.0

    def _ramp(self, warmup: int) -> Factor:
        """The warmup's factor for t < warmup."""
        given = self.warmup_start_factor
        # By default update 0 uses 1/W, for an update with LR 0 would do nothing; who gives a start gets it at update 0.
        ahead = 1 if given is None else 0
        start = _default_start(self.warmup_type, warmup) if given is None else given
        # Either way update W is past it: with a start that is given, update W - 1 is still one step below the peak.
        if self.warmup_type == "constant":
            return lambda t: start
        if self.warmup_type == "cosine":
            return lambda t: start + (1 - start) * (1 - math.cos(math.pi * (t + ahead) / warmup)) / 2
        if self.warmup_type == "exponential":
            return lambda t: start ** (1 - (t + ahead) / warmup)
        return lambda t: start + (1 - start) * (t + ahead) / warmup

    def _ramp_end(self, warmup: int) -> float:
        """Where the warmup leads: the peak, but for a constant one."""
        return self._ramp(warmup)(warmup) if self.warmup_type == "constant" else 1.0

    # Checks of fields, for ``__post_init__``

    def check_length(self, name: str, minimum: int = 0) -> None:
        """Check that a field is a duration, and keep it as a number or a string: what is saved is plain."""
        value = getattr(self, name)
        Duration.parse(value, name, minimum)
        object.__setattr__(self, name, plain_length(value))  # the class is frozen; this is still its construction

    def check_number(self, name: str, low: float, high: float = math.inf, *, above: bool = False) -> None:
        """Check that a field is a number in [low, high] (or above low), or None where None is its default."""
        value = getattr(self, name)
        if value is not None or _default(self, name) is not None:
            checks.number(name, value, low, high, above=above)

    def check_one_of(self, name: str, known: abc.Sequence[str]) -> None:
        """Check that a field is one of the known words."""
        checks.one_of(name, getattr(self, name), known)

    def check_flag(self, name: str) -> None:
        """Check that a field is true or false."""
        checks.flag(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True, repr=False)
class ToFloor(Schedule):
    """A schedule that decays to a floor: at most one of ``min_lr_ratio`` and ``min_lr``; neither means 0.

    Args:
        min_lr_ratio: floor as a ratio of each group's peak, in [0, 1].
        min_lr: floor as an LR, of the group with the largest peak; the other groups keep their ratio to it.
    """

    min_lr_ratio: float | None = None
    min_lr: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_number("min_lr_ratio", 0, 1)
        self.check_number("min_lr", 0)
        if self.min_lr_ratio is not None and self.min_lr is not None:
            raise ValueError(
                f"min_lr_ratio={self.min_lr_ratio!r} and min_lr={self.min_lr!r} both set the floor: give one, "
                "and set the other to null (None)"
            )

    def _floor(self, peak: float | None) -> float:
        # A curve is a factor for all groups, so an absolute floor is turned into a ratio, of the largest peak.
        if self.min_lr is None:
            return 0.0 if self.min_lr_ratio is None else float(self.min_lr_ratio)
        if peak is None:
            raise ValueError(
                f"min_lr={self.min_lr!r} needs the peak LR: resolve(horizon, peak=...) or preview(..., lr=...); or "
                "give min_lr_ratio in its place"
            )
        if self.min_lr > peak:
            raise ValueError(
                f"min_lr={self.min_lr!r} is above the peak LR {peak!r}: lower it, or raise the optimizer's lr"
            )
        return self.min_lr / peak if self.min_lr else 0.0


def from_description(description: dict[str, Any], own: type[Schedule] = Schedule) -> Schedule:
    """Build a schedule from what ``describe()`` returned.

    Args:
        description: what it returned.
        own: the class that is meant by its name, where several have been given the same one.

    Example:
        >>> from lr_recipes.schedules import Cosine
        >>> from_description(Cosine(warmup="10%").describe())
        Cosine(warmup='10%')
    """
    known = {kind.__name__: kind for kind in [*kinds_of(Schedule), own]}
    # By class name among all that have been imported: a checkpoint names no module, so a schedule may move.
    name = description.get("schedule") if isinstance(description, dict) else None
    if not isinstance(name, str) or name not in known:
        raise ValueError(
            f"schedule={checks.brief(name)} is not known here: import the module that defines it first, {_OR_OURS}"
        )
    try:
        return known[name].from_fields({key: value for key, value in description.items() if key != "schedule"})
    except ValueError:
        raise
    except Exception as error:  # a knob that the class does not have any more, or has only now, or a damaged one
        raise ValueError(
            f"schedule={name!r} cannot be built from its description ({error}): use the version that saved "
            f"it, {_OR_OURS}"
        ) from error


def _default_start(warmup_type: str, warmup: int) -> float:
    return {"exponential": 1 / max(warmup, 1), "constant": 1 / 3}.get(warmup_type, 0.0)


def _default(schedule: Schedule, name: str) -> Any:
    return type(schedule).__dataclass_fields__[name].default  # MISSING, and not None, for a field without one


def as_tuple(given: Any, name: str, example: str) -> tuple[Any, ...]:
    """Any list-like value, such as a config's list, as a tuple that is not empty."""
    # Hydra passes a ListConfig, which is no list and cannot be saved with `weights_only=True`. A string is iterable
    # too, letter by letter.
    try:
        found = () if isinstance(given, (str, bytes)) else tuple(given)
    except Exception:  # of what is no list, or one of somebody's own that fails
        found = ()
    if not found:
        raise ValueError(f"{name}={checks.brief(given)}: must be a list that is not empty, as in {example}")
    return found


def plain_length(value: Any) -> Any:
    return str(value) if isinstance(value, Duration) else value


def as_milestones(given: Any, example: str, minimum: int = 1) -> tuple[Length, ...]:
    """Milestones as a tuple of plain values, each a duration."""
    milestones = as_tuple(given, "milestones", example)
    for milestone in milestones:
        Duration.parse(milestone, "milestones", minimum)
    return tuple(map(plain_length, milestones))


def rising_steps(milestones: abc.Sequence[Length], horizon: Horizon) -> list[int]:
    """Milestones in steps; they must rise, whatever their units."""
    steps = [horizon.steps(milestone, "milestones") for milestone in milestones]
    for before, after, given in zip(steps, steps[1:], milestones[1:], strict=False):
        if after <= before:
            raise ValueError(
                f"milestones={checks.brief(list(milestones))}: {given!r} does not come after the one before it; sort "
                "them"
            )
    return steps


def at_least(floor: float, factor: Factor) -> Factor:
    """A factor that does not fall below the floor; where there is none, the same function."""
    return (lambda t: max(factor(t), floor)) if floor else factor


def _to_plain(value: Any) -> Any:
    """A list for a tuple, as it comes back from a file."""
    if isinstance(value, (list, tuple)):
        return [_to_plain(one) for one in value]
    return {key: _to_plain(one) for key, one in value.items()} if isinstance(value, dict) else value
