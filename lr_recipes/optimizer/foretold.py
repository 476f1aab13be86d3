"""Says what the updates of an optimizer were foretold to use, where nobody of ours writes its groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from lr_recipes.optimizer.clock import Clock
from lr_recipes.optimizer.groups import Roster
from lr_recipes.plan.plan import Plan


class Foretold:
    """Tells what was foretold, step by step.

    Args:
        plan: the forecast as a plan.
        clock: of the optimizer whose updates it is of.
        lrs: step -> LR of every group, ``None`` where it is not known.
        step: asked for the number of the next step, as the scheduler's clock counts: with those that change nothing.
    """

    planned_others: ClassVar[dict[str, list[float | None]]] = {}  # it moves the LR alone
    part = "run"

    def __init__(
        self,
        plan: Plan,
        clock: Clock,
        lrs: Callable[[int], Sequence[float] | None],
        step: Callable[[], int],
    ) -> None:
        self.plan = plan
        self.roster = Roster(clock.optimizer)
        self._clock = clock
        self._lrs, self._step = lrs, step
        self._base = next((base for base in plan.base_lrs if base), 0.0)
        self._place = next((place for place, base in enumerate(plan.base_lrs) if base), 0)
        self._told: tuple[int, list[float] | None] = (-1, None)  # of the step that was asked for last

    @property
    def total(self) -> int | None:
        """Updates of the run."""
        return self.plan.total_steps

    @property
    def progress(self) -> int:
        """The position of the next update."""
        return self._clock.position

    @property
    def planned_lrs(self) -> list[Any] | None:
        """What the next update shall use, by group; ``None`` where nobody can say."""
        step = self._step()
        if self._told[0] != step:  # at each step both the LRs and the factor are asked for
            self._told = (step, self._at(step))
        return self._told[1]

    def _at(self, step: int) -> list[float] | None:
        lrs = self._lrs(step)
        if lrs is not None and self.roster.has_changed(self._clock.optimizer):
            # Schedulers write by place: where a group has left, the others are given what was meant for another one.
            places = self.roster.places(self._clock.optimizer)
            lrs = lrs if places[: len(lrs)] == list(range(len(lrs))) else None
        return None if lrs is None else list(lrs)

    @property
    def planned_factor(self) -> float | None:
        """What the next update multiplies the base LRs by; ``None`` where nobody can say."""
        lrs = self.planned_lrs
        return lrs[self._place] / self._base if lrs is not None and self._base else None
