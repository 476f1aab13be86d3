"""The groups that follow one curve in one hyper-parameter, and so are written together.

A curve is asked once for all of them, and where it says what it said before, nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lr_recipes.optimizer import internals
from lr_recipes.optimizer.groups import Group, mark_of, place_of, put
from lr_recipes.plan.plan import Line


class Bundle:
    """Lines of a plan that have their curve in common.

    Args:
        lines: of one curve and one hyper-parameter.
        groups: all groups of the optimizer.

    Attributes:
        key: the hyper-parameter.
        groups: indices of the groups.
        bases: what the curve multiplies, by group.
        factor: what was written last, as a share of the bases; 1 before the first time.
    """

    def __init__(self, lines: Sequence[Line], groups: Sequence[Group]) -> None:
        self.key, self.curve = lines[0].key, lines[0].curve
        self.groups = [line.group for line in lines]
        self.bases = [line.base for line in lines]
        self.factor = 1.0
        self._at = self.curve.factor
        self._pairs = [(groups[line.group], line.base) for line in lines]
        self._places = [place_of(group, self.key) for group, _ in self._pairs]
        self._name, place = self._places[0]
        present: list[Any] = [group.get(self._name) for group, _ in self._pairs]
        self._floats = place is None and all(type(value) is float for value in present)
        self._tensors: list[Tensor] = present if len(present) > 1 and _are_alike(present) else []
        self._written = False
        self._marks: list[float] = []

    def write(self, position: int, scale: float = 1.0) -> float:
        """Write what the update at ``position`` shall use; return the factor, cuts and all.

        Args:
            position: of the next update.
            scale: what a metric has cut the curve to.
        """
        factor = self._at(position) * scale
        again = self._written and factor == self.factor
        if again and self._is_untouched():
            return factor
        self.factor, self._written = factor, True
        name = self._name
        if self._floats and type(self._pairs[0][0][name]) is float:  # nearly always; asking each takes as long as this
            for group, base in self._pairs:
                group[name] = base * factor
            return factor
        if self._tensors and self._have_tensors():
            internals.fill_all(self._tensors, [base * factor for base in self.bases])
        else:
            for (group, base), place in zip(self._pairs, self._places, strict=True):
                put(group, *place, base * factor)
        # What moves at every update is not looked at: of the rest, what is written a second time is marked.
        self._marks = self._marks_now() if again else []
        return factor

    def _have_tensors(self) -> bool:
        """Whether each group still holds its tensor: one that was given another would be left out for ever."""
        name = self._name
        return all(group[name] is tensor for (group, _), tensor in zip(self._pairs, self._tensors, strict=True))

    def write_anew(self) -> None:
        """Let the next ``write`` write, whatever the factor was."""
        self._written = False

    def _is_untouched(self) -> bool:
        """Whether the first and the last group hold what was written; the others are left to the audit."""
        if not self._floats:
            return bool(self._marks) and self._marks == self._marks_now()
        (first, base), (last, its_base), name = self._pairs[0], self._pairs[-1], self._name
        there: bool = first[name] == base * self.factor and last[name] == its_base * self.factor
        return there

    def _marks_now(self) -> list[float]:
        # A number on a device is not read, which would wait for it: how often it was written says enough.
        return [mark_of(group, self.key) for group, _ in (self._pairs[0], self._pairs[-1])]

    def planned(self, into: list[Any]) -> None:
        """Put what the next update shall use at the places of its groups."""
        factor = self.factor
        for group, base in zip(self.groups, self.bases, strict=True):
            into[group] = base * factor


def bundles_of(lines: Sequence[Line], groups: Sequence[Group]) -> list[Bundle]:
    """Return the lines as bundles, in the order of their first groups."""
    together: dict[tuple[str, int], list[Line]] = {}
    for line in lines:
        together.setdefault((line.key, id(line.curve)), []).append(line)
    return [Bundle(one, groups) for one in together.values()]


def _are_alike(lrs: Sequence[Any]) -> bool:
    """Whether all are tensors that one call can fill faster than one for each: of a device, not in memory."""
    first = lrs[0]
    return (
        isinstance(first, Tensor)
        and first.device.type != "cpu"
        and all(
            isinstance(lr, Tensor) and (lr.device, lr.dtype, lr.shape) == (first.device, first.dtype, first.shape)
            for lr in lrs
        )
    )
