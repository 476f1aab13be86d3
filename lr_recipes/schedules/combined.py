"""Schedules that are made of others: another one for some parameter groups, or for other numbers than the LR.

What they make is a plan of several curves; each is that of the schedule within, on the groups or the numbers that it is
for.
"""

# Not `from __future__ import annotations`: LightningCLI reads of a dataclass the types of its fields, and what
# Hyperparameters is given is more than those.

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from lr_recipes import checks
from lr_recipes.plan.built import Built
from lr_recipes.plan.curve import AS_BUILT, Curve, Shape
from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.plan import Line, Plan, Reaction
from lr_recipes.schedules.base import Schedule, Span, from_description
from lr_recipes.schedules.catalogue import Fixed
from lr_recipes.schedules.named import Name, as_schedule

__all__ = ["ByGroup", "Hyperparameters"]

_KNOWN_AS = {"betas[0]": "momentum", "beta1": "momentum", "beta2": "betas[1]"}  # other words -> what a plan calls it
_NO_WARMUP = ("warmup", "warmup_type", "warmup_start_factor")


@dataclass(frozen=True, kw_only=True, repr=False)
class Combined(Schedule):
    """What both have: schedules within, which have the warmups."""

    warmup: int | str = field(default=0, init=False, repr=False)
    warmup_type: str = field(default="linear", init=False, repr=False)
    warmup_start_factor: float | None = field(default=None, init=False, repr=False)

    def describe(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in _NO_WARMUP}
        return {name: _in_plain(value) for name, value in fields.items()}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Schedule:
        return cls(**{name: _from_plain(value) for name, value in fields.items()})

    def __hash__(self) -> int:  # a mapping has none
        return hash(repr(self))

    @property
    def is_one_curve(self) -> bool:
        return False

    def parts(self, key: str = "lr") -> list[tuple[str, Schedule]]:
        """Return the schedules within, each with the number that it moves where this one moves ``key``."""
        raise NotImplementedError


def _in_plain(value: Any) -> Any:
    """A field as plain values; of a mapping the keys by themselves, for a file makes words of numbers."""
    if isinstance(value, Mapping):
        return {"keys": [*value], "schedules": [one.describe() for one in value.values()]}
    return value.describe() if isinstance(value, Schedule) else value


def _from_plain(value: Any) -> Any:
    """The other way round."""
    if isinstance(value, dict) and "keys" in value:
        schedules = map(from_description, value["schedules"])
        return dict(zip(value["keys"], schedules, strict=True))
    return from_description(value) if isinstance(value, dict) else value


@dataclass(frozen=True, kw_only=True, repr=False)
class ByGroup(Combined):
    """Another schedule for some parameter groups: by name, index or regular expression.

    A group without a name is ``group0``, ``group1``, ... by its index. Each schedule within has its own warmup, and
    its floor is of the groups that follow it.

    Args:
        groups: group -> its schedule. A word is the name of a group, else a regular expression that matches the whole
            of it; a number is its index. Of several optimizers, the groups of any of them.
        default: the schedule of all other groups; without one they keep the LR that they were built with.
        late: the same as ``groups``, for those that join later: here a key may mean no group yet.

    Raises:
        ValueError: a key of ``groups`` is no group's, or two keys are of the same group (when the plan is made); or a
            schedule within reacts to a metric.

    Example:
        >>> from lr_recipes.schedules import Cosine, Linear
        >>> from lr_recipes.plan.built import Built
        >>> schedule = ByGroup(groups={"head": Linear(), "block.*": Cosine(warmup=10)}, default=Fixed())
        >>> schedule.plan(100, Built([0.1, 0.01, 1.0], ["head", "block0", "norm"])).lrs(55)
        [0.045, 0.005, 1.0]
    """

    groups: Mapping[int | str, Schedule | Name] = field(default_factory=dict)
    default: Schedule | Name | None = None
    late: Mapping[int | str, Schedule | Name] = field(default_factory=dict)

    __hash__ = Combined.__hash__

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("groups", "late"):
            object.__setattr__(self, name, _checked_groups(name, getattr(self, name)))  # the class is frozen; this is
        object.__setattr__(self, "default", as_schedule(self.default, "default"))  # still its construction
        if not self._all and self.default is None:
            raise ValueError("groups={}: must name at least one group, as in {'head': Linear(), 0: Cosine()}")
        if self.default is not None:
            _check_part("default", self.default)

    @property
    def _all(self) -> dict[int | str, Schedule]:
        return {**self.groups, **self.late}  # type: ignore[dict-item] # no names any more

    def parts(self, key: str = "lr") -> list[tuple[str, Schedule]]:
        default = [self.default] if isinstance(self.default, Schedule) else []  # which is no name any more
        return [(key, one) for one in [*self._all.values(), *default]]

    def shape(self, span: Span) -> Shape:
        raise ValueError(
            f"{self!r} has a curve for each group: ask its plan(horizon, lrs), or preview(...), and not resolve(...)"
        )

    def plan(self, horizon: Horizon | int | str, base_lrs: Sequence[float], peak: float | None = None) -> Plan:
        """Return what every update of an optimizer shall use; see ``Schedule.plan``."""
        self._check_saved()
        horizon, built = Horizon.of(horizon), Built.of(base_lrs)
        if not built:
            raise ValueError(f"{self!r} is by group, and there are no groups here: give one schedule for all")
        parts = [
            (
                _left_alone(horizon, built.groups(groups)) if one is None else one.plan(horizon, built.groups(groups)),
                groups,
            )
            for one, groups in self._followed(built)
        ]
        return Plan.merged(self, horizon, built, parts)

    def _followed(self, built: Built) -> list[tuple[Schedule | None, list[int]]]:
        """The schedules within, and the groups that follow each; ``None`` for those that no schedule is given for."""
        keys = {key: self._matches(key, built.names) for key in self._all}
        if not built.settled:
            self._check_known(keys, built)
        of: dict[int, int | str] = {}
        for key, matched in keys.items():
            for group in matched:
                if group in of:
                    raise ValueError(
                        f"two schedules for one group: {built.names[group]} (index {group}) is meant by "
                        f"{of[group]!r} and by {key!r}: narrow one of them"
                    )
                of[group] = key
        rest = [group for group in range(len(built)) if group not in of]
        default = self.default if isinstance(self.default, Schedule) else None  # which is no name any more
        followed: list[tuple[Schedule | None, list[int]]] = [
            (one, [group for group in range(len(built)) if of.get(group) == key]) for key, one in self._all.items()
        ]
        return [(one, groups) for one, groups in [*followed, (default, rest)] if groups]

    def _check_known(self, keys: Mapping[int | str, Sequence[int]], built: Built) -> None:
        everywhere = list(dict.fromkeys(chain(built.names, *built.elsewhere)))
        for key, matched in keys.items():
            if matched or key in self.late or any(self._matches(key, names) for names in built.elsewhere):
                continue
            near = checks.nearest(key, everywhere) if isinstance(key, str) else ""
            raise ValueError(
                f"groups: there is no group {key!r}{near}; groups are {checks.one_line(', '.join(everywhere))}. One "
                f"that joins later is given as late={{{key!r}: ...}}"
            )

    @staticmethod
    def _matches(key: int | str, names: Sequence[str]) -> list[int]:
        """The groups that a key is of."""
        if isinstance(key, int):
            return [key] if key < len(names) else []
        exactly = [index for index, name in enumerate(names) if name == key]
        if not exactly and key.isdecimal():  # an index too, where it was typed: JSON has no other keys than words
            return [int(key)] if int(key) < len(names) else []
        return exactly or [index for index, name in enumerate(names) if re.fullmatch(key, name)]


@dataclass(frozen=True, kw_only=True, repr=False, init=False)
class Hyperparameters(Combined):
    """Schedules for other numbers of a parameter group beside the LR: each multiplies what its group was built with.

    A floor is a ratio of what a number was built with, or as ``min_lr`` an absolute value of it.

    Args:
        lr: the schedule of the LR.
        weight_decay: that of the weight decay. A group whose weight decay is 0 stays at 0.
        momentum: that of SGD's momentum, or Adam's beta1.
        others: further numbers of a group -> their schedules, such as ``"betas[1]"`` or ``"eps"``. They may also stand
            as arguments: ``Hyperparameters(eps=Linear())``.

    Raises:
        ValueError: two schedules for one number; one of them reacts to a metric, which only that of the LR may; or the
            optimizer has no such number (when it is bound).

    Example:
        >>> from lr_recipes.schedules import Cosine, Linear
        >>> from lr_recipes.plan.built import Built
        >>> schedule = Hyperparameters(lr=Cosine(), weight_decay=Linear(min_lr_ratio=0.5))
        >>> plan = schedule.plan(100, Built([0.1], others={"weight_decay": [0.01]}))
        >>> plan.lrs(50), plan.values("weight_decay", 50)
        ([0.05], [0.0075])
    """

    lr: Schedule = field(default_factory=Fixed)
    others: Mapping[str, Schedule] = field(default_factory=dict)

    __hash__ = Combined.__hash__

    def __init__(
        self,
        *,
        lr: Schedule | Name | None = None,
        weight_decay: Schedule | Name | None = None,
        momentum: Schedule | Name | None = None,
        others: Mapping[str, Schedule | Name] | None = None,
        **more: Any,
    ) -> None:
        if others is not None and not isinstance(others, Mapping):
            raise ValueError(
                f"others={checks.brief(others)}: must be a mapping from numbers to schedules, as in "
                "{'betas[1]': Linear()}"
            )
        given = {"weight_decay": weight_decay, "momentum": momentum, **more}
        found: dict[str, Any] = {}
        for name, one in [*(others or {}).items(), *given.items()]:
            if not isinstance(name, str):
                raise ValueError(
                    f"others: {checks.brief(name)} is no number of a group: give its name, as in 'betas[1]'"
                )
            if name in _NO_WARMUP:
                raise ValueError(
                    f"{name}={checks.brief(one)}: Hyperparameters has no warmup of its own: give it to a schedule "
                    "within, as in lr=Cosine(warmup='5%')"
                )
            key = name_of_number(name)
            if one is not None and key in found:
                raise ValueError(f"two schedules for one number: {key} is given twice, at last as {name!r}")
            if one is not None:
                found[key] = as_schedule(one, name)
        object.__setattr__(self, "lr", Fixed() if lr is None else as_schedule(lr, "lr"))
        object.__setattr__(self, "others", found)
        self.__post_init__()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.lr, Schedule):
            raise ValueError(f"lr={checks.brief(self.lr)}: must be a schedule, as in Cosine(warmup='5%')")
        for name, one in self.others.items():
            _check_part(name, one)

    def __repr__(self) -> str:
        inner = [f"{name}={one!r}" for name, one in {"lr": self.lr, **self.others}.items() if name.isidentifier()]
        more = {name: one for name, one in self.others.items() if not name.isidentifier()}
        return f"Hyperparameters({', '.join([*inner, *([f'others={more!r}'] if more else [])])})"

    def parts(self, key: str = "lr") -> list[tuple[str, Schedule]]:
        return [(key, self.lr), *self.others.items()]

    def curve_of(
        self, horizon: Horizon, peak: float | None, whole: str, shape: Callable[[Span], Shape] | None = None
    ) -> Curve:
        return self.lr.curve_of(horizon, peak, whole, shape)

    def warn_of_warmup(self, curve: Curve, horizon: Horizon) -> None:
        self.lr.warn_of_warmup(curve, horizon)

    def reaction(self) -> Reaction[Any] | None:
        return self.lr.reaction()

    def plan(self, horizon: Horizon | int | str, base_lrs: Sequence[float], peak: float | None = None) -> Plan:
        """Return what every update of an optimizer shall use; see ``Schedule.plan``."""
        self._check_saved()
        horizon, built = Horizon.of(horizon), Built.of(base_lrs)
        plan = self.lr.plan(horizon, built, peak)
        lines: list[Line] = []
        for key, one in self.others.items():
            if key in plan.moves:
                raise ValueError(
                    f"two schedules for one number: {self.lr!r} moves the {key}, and {one!r} is given for it: leave "
                    "one out (of OneCycle with cycle_momentum=False)"
                )
            there = built.groups_with(key)
            if not there:
                near = checks.nearest(key, built.others)
                raise ValueError(
                    f"{key}={one!r}: the optimizer has no such number{near}; its groups have "
                    f"{', '.join(['lr', *built.others])}"
                )
            moved = one.plan(horizon, built.groups(there).of_key(key))
            lines += (line._replace(key=key, group=there[line.group]) for line in moved.lines if line.key == "lr")
        return plan.with_lines(self, lines)


def name_of_number(name: str) -> str:
    """Return what a plan calls a number of a group: momentum and Adam's beta1 go by one name."""
    return _KNOWN_AS.get(name, name)


def _left_alone(horizon: Horizon, built: Built) -> Plan:
    """The plan of groups that keep what they were built with."""
    curve = Curve(Shape(lambda t: 1.0, 1.0, [(AS_BUILT, 0)]), lambda t: 1.0, 0, horizon.total_steps)
    return Plan.of(Fixed(), horizon, curve, built, built.peak())


def _checked_groups(name: str, given: Any) -> dict[int | str, Schedule]:
    if not isinstance(given, Mapping):
        raise ValueError(
            f"{name}={checks.brief(given)}: must be a mapping from groups to schedules, as in "
            "{'head': Linear(), 0: Cosine()}"
        )
    groups = {checks.plain(key): as_schedule(one, f"{name}[{checks.brief(key)}]") for key, one in given.items()}
    for key, one in groups.items():
        _check_key(name, key)
        _check_part(f"{name}[{checks.brief(key)}]", one)
    return groups


def _check_key(name: str, key: Any) -> None:
    if isinstance(key, int) and not isinstance(key, bool) and key >= 0:
        return
    if not isinstance(key, str):
        raise ValueError(f"{name}: {checks.brief(key)} is no group: give its name, or its index from 0")
    try:
        re.compile(key)
    except re.error as error:
        raise ValueError(
            f"{name}: {checks.brief(key)} is no regular expression ({error}): write a group's name, or put a \\ before "
            "what is to stand for itself"
        ) from None


def _check_part(name: str, one: Any) -> None:
    if not isinstance(one, Schedule):
        # Hydra makes configs of the dataclasses within a config.
        convert = "; in Hydra's YAML add `_convert_: all` to the outermost" if isinstance(one, Mapping) else ""
        raise ValueError(f"{name}={checks.brief(one)}: must be a schedule, as in Cosine(warmup='5%'){convert}")
    if one.reaction() is not None:
        raise ValueError(
            f"{name}={checks.brief(one)}: a schedule that reacts to a metric decides for all groups of an optimizer at "
            "once: give it as the one schedule, or as lr=... of Hyperparameters"
        )
