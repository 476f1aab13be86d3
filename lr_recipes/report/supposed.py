"""The parameter groups of an optimizer that is not there, for a preview: from what is told of them, and the schedule.

No torch. What a group is called and was built with is told by whoever asks for the preview; what is not told follows
from the schedule, whose keys mean groups and whose parts move numbers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from lr_recipes import checks
from lr_recipes.plan.built import Built
from lr_recipes.plan.names import distinct
from lr_recipes.schedules import ByGroup, Schedule
from lr_recipes.schedules.combined import Combined, name_of_number

GroupValues = float | Mapping[str, float]  # of all groups, or by the name of the group
_NOT_MEANT = "others"  # the groups that no key means


def supposed(schedule: Schedule, lr: GroupValues | None, built: Mapping[str, GroupValues]) -> tuple[Built, list[str]]:
    """Return what groups are built with; and of which numbers that is not known, where 1 stands for it.

    Args:
        schedule: whose plan is to be made.
        lr: base LR.
        built: other numbers that the schedule moves.

    Raises:
        ValueError: a number is none, or is one that the schedule does not move; or the schedule has an absolute floor
            of one that is not known.

    Example:
        >>> from lr_recipes.schedules import Cosine, Linear
        >>> built, unknown = supposed(ByGroup(groups={"head": Linear(), 2: Cosine()}), 0.1, {})
        >>> built, built.names, unknown
        ([0.1, 0.1, 0.1], ('head', 'group1', 'group2'), [])
    """
    base_lrs = _base_lrs(lr, groups_meant(schedule))
    given = {name_of_number(key): values for key, values in built.items()}
    moved = numbers_moved(schedule)
    check_moved(given, moved)
    others = {key: _in_each_group(key, given.get(key, 1.0), base_lrs) for key in moved}
    unknown = [*([] if lr is not None else ["lr"]), *(key for key in moved if key not in given)]
    _check_floors(schedule, unknown)
    return Built(base_lrs.values(), list(base_lrs), others), unknown


def numbers_moved(schedule: Schedule) -> list[str]:
    """Return the numbers beside the LR that a schedule moves from what they were built with."""
    return list(dict.fromkeys(key for key, _ in leaves_of(schedule) if key != "lr"))


def check_moved(built: Iterable[str], moved: Collection[str]) -> None:
    """Refuse a number that no schedule moves.

    Raises:
        ValueError: there is one.
    """
    for key in built:
        if key not in moved:
            known = f"what is moved is {', '.join(moved)}" if moved else "only the LR is moved, so leave built out"
            raise ValueError(f"built: {checks.brief(key)} is not moved{checks.nearest(key, moved)}; {known}")


def groups_meant(schedule: Schedule) -> list[str]:
    """Return names of groups as the keys of a schedule mean them, and one for the others; an index has its place."""
    keys = list(dict.fromkeys(_keys_in(schedule)))
    if not keys:
        return ["group0"]
    words = [key for key in keys if isinstance(key, str)]
    indices = {key for key in keys if isinstance(key, int)}
    names: list[str] = []
    while words or any(index >= len(names) for index in indices):
        names.append(words.pop(0) if words and len(names) not in indices else f"group{len(names)}")
    meant = [key for key in keys if isinstance(key, str) and re.fullmatch(key, _NOT_MEANT)]
    all_meant = meant or any(f"group{place}" == name and place not in indices for place, name in enumerate(names))
    return names if all_meant else [*names, _NOT_MEANT]


def _keys_in(schedule: Schedule) -> Iterator[int | str]:
    if isinstance(schedule, ByGroup):
        yield from [*schedule.groups, *schedule.late]
    for _, one in schedule.parts() if isinstance(schedule, Combined) else ():
        yield from _keys_in(one)


def leaves_of(schedule: Schedule, key: str = "lr") -> Iterator[tuple[str, Schedule]]:
    """Yield the schedules within that are made of no others, each with the number that it moves."""
    if not isinstance(schedule, Combined):
        yield key, schedule
        return
    for name, one in schedule.parts(key):
        yield from leaves_of(one, name)


def _base_lrs(lr: GroupValues | None, groups: Iterable[str]) -> dict[str, float]:
    base_lrs = dict(lr) if isinstance(lr, Mapping) else dict.fromkeys(groups, 1.0 if lr is None else lr)
    check_names("lr", base_lrs)
    for name, value in base_lrs.items():
        if not checks.is_finite(value) or value <= 0:
            whose = f" of {name}" if isinstance(lr, Mapping) else ""
            raise ValueError(
                f"lr={checks.brief(value)}{whose}: must be a number above 0, the peak of the schedule, as in 0.001"
            )
    if not base_lrs:
        raise ValueError("lr={}: give the base LR of at least one group, as in {'decay': 0.001}")
    return dict(zip(distinct(base_lrs), map(float, base_lrs.values()), strict=True))


def _in_each_group(key: str, given: GroupValues, groups: Collection[str]) -> list[float | None]:
    """The values of a number in the groups; ``None`` in one that has none."""
    by_group = given if isinstance(given, Mapping) else dict.fromkeys(groups, given)
    for name, value in by_group.items():
        if name not in groups:
            raise ValueError(
                f"built: {key} is given for {checks.brief(name)}, and there is no such group"
                f"{checks.nearest(name, groups)}; groups are {', '.join(groups)}"
            )
        if not checks.is_finite(value):
            raise ValueError(f"built: {key} is {checks.brief(value)}: must be a number, as in {{{key!r}: 0.1}}")
    return [float(by_group[name]) if name in by_group else None for name in groups]


def _check_floors(schedule: Schedule, unknown: Collection[str]) -> None:
    """Refuse an absolute floor of a number that is not known; of the LR, a schedule says so itself."""
    for key, one in leaves_of(schedule):
        floor = getattr(one, "min_lr", None)
        if floor is not None and key in unknown and key != "lr":
            raise ValueError(
                f"{key}: min_lr={floor!r} needs the {key} that the groups are built with: preview(..., "
                f"built={{{key!r}: 0.1}}); or give min_lr_ratio in its place"
            )


def check_names(what: str, names: Iterable[Any]) -> None:
    """Refuse a name that is not text.

    Raises:
        TypeError: there is one.
    """
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{what}: {checks.brief(name)} is no name: give text, as in 'decay'")
