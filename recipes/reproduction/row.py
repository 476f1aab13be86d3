"""What a row of the measured page is, and what a claim is; the rows are in ``table.py`` and ``further.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

BASELINE = "fixed"
DEFAULT = "default"  # the practical default of the table, taken as it is
# The optimizer's own file says the LR: nobody tuned it for the task.
DEFAULT_LR = 0.002
TYPED_FOR_DEFAULT = ("optimizer=adamw", "schedule=warmup_cosine", "schedule.warmup=5%")
SHOWN = ("table", "second")  # parts whose rows have a section and a picture each
RANGE_TEST = "range_test"  # no training: what does it suggest before one?


def typed(schedules: Mapping[str, tuple[str, ...]], *more: str) -> dict[str, tuple[str, ...]]:
    """Return schedules with ``more`` typed behind each."""
    return {name: (*overrides, *more) for name, overrides in schedules.items()}


@dataclass(frozen=True)
class Row:
    """A setting, a task in it, and the schedules that are compared there.

    Args:
        name: of the row, and of its recipe unless ``recipe`` names another.
        setting: the table's words for it.
        schedules: name -> what to type after ``recipe=...``; the others are compared with the first.
        recommended: those that the table names.
        lrs: the LRs that every schedule is tried at first.
        why: why the schedule suits the setting, and what happens without it.
        task: what is learned from what.
        part: of the page: ``"table"``, ``"second"`` (task for a row of the table), ``"length"`` (the same over another
            number of updates), ``"literature"`` or ``"warmup"`` (only the usable LRs are of interest).
        of: the row of the table that it belongs to, unless it is one.
        seeds: evaluation seeds.
        tuning_seeds: other seeds, on which the LR of each schedule is chosen.
        also: what is run besides, and not compared with the first: schedules of a `Claim`, the practical default, a
            range test.
        untuned: schedule -> LR, for those that are taken as they are.
        warmup: a schedule without warmup, and the same with it, whose usable LRs are compared; or nothing.
        tuned_in: a row over another length from which schedules take their LR, and which ones: parts of one run.
        published_lr: the middle of the LRs where the published setting is trained.
        hindsight: of a row of the table, whether its baseline is also taken at the LR that turns out best on the
            evaluation seeds.
        recipe: the recipe, where it does not have the row's name.
        short: what to type for a run of a few updates that tries the machinery.
    """

    name: str
    setting: str
    schedules: Mapping[str, tuple[str, ...]]
    recommended: tuple[str, ...]
    lrs: tuple[float, ...]
    why: str
    task: str = ""
    part: str = "table"
    of: str = ""
    seeds: int = 10
    tuning_seeds: int = 3
    also: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    untuned: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    warmup: tuple[str, ...] = ()
    tuned_in: tuple[Row, tuple[str, ...]] | None = None
    published_lr: float = 0.0
    hindsight: bool = True
    recipe: str = ""
    short: tuple[str, ...] = ("trainer.max_epochs=1", "trainer.limit_train_batches=4")

    @property
    def baseline(self) -> str:
        """The schedule that the others are compared with."""
        return next(iter(self.schedules))

    @property
    def all_schedules(self) -> dict[str, tuple[str, ...]]:
        """Name -> what to type, for all that are trained."""
        return {**self.schedules, **self.also}

    @property
    def in_hindsight(self) -> bool:
        """Whether the baseline is also taken at the LR that turns out best on the evaluation seeds."""
        return self.hindsight and self.part == "table"

    def overrides(self, schedule: str) -> tuple[str, ...]:
        """Return what to type for a schedule after ``python train.py``."""
        return (f"recipe={self.recipe or self.name}", *self.all_schedules[schedule])

    def with_seeds(self, seeds: int | None, tuning_seeds: int | None) -> Row:
        """Return the row with other numbers of seeds; ``None``: as it is."""
        tuned_in = self.tuned_in and (self.tuned_in[0].with_seeds(seeds, tuning_seeds), self.tuned_in[1])
        return replace(
            self,
            seeds=seeds if seeds and self.seeds else self.seeds,
            tuning_seeds=tuning_seeds or self.tuning_seeds,
            tuned_in=tuned_in,
        )

    def plain(self) -> Row:
        """Return the row without what is tuned for a claim only, and without hindsight."""
        also = {name: typed for name, typed in self.also.items() if name in self.untuned}
        warmup = self.warmup if set(self.warmup) <= set(self.schedules) else ()
        return replace(self, also=also, warmup=warmup, tuned_in=None, hindsight=False)

    def published(self) -> Row:
        """Return the row at the size of the publication, which its recipe says."""
        schedules = {
            name: tuple(one for one in overrides if not one.startswith("trainer."))
            for name, overrides in self.schedules.items()
        }
        lrs = (self.published_lr / 2, self.published_lr, self.published_lr * 2)
        recipe = f"published/{self.name}"
        return replace(self, schedules=schedules, also={}, untuned={}, tuned_in=None, recipe=recipe, lrs=lrs)

    def quick(self) -> Row:
        """Return the row at the size that only tries the machinery."""
        schedules = {name: (*overrides, *self.short) for name, overrides in self.schedules.items()}
        return replace(
            self,
            schedules=schedules,
            also={},
            untuned={},
            tuned_in=None,
            lrs=self.lrs[:2],
            seeds=min(2, self.seeds),
            tuning_seeds=1,
            warmup=(),
        )


@dataclass(frozen=True)
class Claim:
    """What somebody says of a schedule beside another, written down before it was measured here.

    It holds where the mean paired difference of the test losses lies below ``margin`` for certain.

    Args:
        row: where both were trained.
        schedule, rival: the two; the difference is the first's loss less the second's.
        words: what is claimed.
        source: who says it.
        margin: in nats; 0: the schedule ends lower. Above 0: it ends no more than that higher.
    """

    row: str
    schedule: str
    rival: str
    words: str
    source: str
    margin: float = 0.0
