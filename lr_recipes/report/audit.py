"""Compares the LR that each update used with the planned one, and says at the end what came out. No torch.

Numbers in, sentences out: who reads the LRs is ``optimizer/recorder.py``, and who says the sentences a callback.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from typing import Any, ClassVar

from lr_recipes.checks import counted, one_line, plain
from lr_recipes.plan.state import COUNT, NUMBER, TEXT, ByName, Entries, whole

# A tensor LR holds 32 bits; anything further from the plan was written by somebody else.
_TOLERANCE = 1e-6
_MANY_GROUPS = 8  # that are told of one by one
_SMALLEST = 1e-37  # below it 32 bits round more coarsely, and to 0 in the end


def _counts_agree(counts: dict[str, Any]) -> str:
    compared, different = counts["compared"] - counts.get("unplanned", 0), counts["different"]
    if different > compared or (different > 0) != (counts["first_at"] >= 0):
        return f"different is {different}, of {compared} updates that were compared, the first at {counts['first_at']}"
    return ""


# What is saved of an audit; the last two not in 0.1.0.
AUDIT = Entries(
    {
        **dict.fromkeys(("compared", "different", "skipped"), COUNT),
        **dict.fromkeys(("worst_at", "first_at", "skipped_at"), whole(-1)),
        "worst": NUMBER,
        "worst_group": TEXT,
        "late": ByName(TEXT, COUNT),
    },
    {"unplanned": COUNT, "left": ByName(TEXT, COUNT)},
    _counts_agree,
)


@dataclass
class Audit:
    """Counts of one optimizer's updates, and what was out of order.

    Attributes:
        compared: updates that were recorded, and compared with the plan where there was one.
        different: updates at which some group used another LR.
        worst: largest difference; ``worst_at`` and ``worst_group`` say where.
        first_at: first update that differed.
        skipped: optimizer steps that changed nothing; ``skipped_at`` is the position of the first.
        late: groups that joined after the start, with the update they joined at.
        left: groups that were taken out, with the first update without them.
        unplanned: of ``compared``, updates that were only recorded: there was no plan to compare with.
    """

    compared: int = 0
    different: int = 0
    worst: float = 0.0
    worst_at: int = -1
    worst_group: str = ""
    first_at: int = -1
    skipped: int = 0
    skipped_at: int = -1
    late: dict[str, int] = field(default_factory=dict)
    unplanned: int = 0
    left: dict[str, int] = field(default_factory=dict)

    # What it is compared with, in two words; not a part of what is saved.
    source: ClassVar[str] = "plan"
    word: ClassVar[str] = "planned"

    def compare(
        self, position: int, used: Sequence[float], planned: Sequence[float], names: Sequence[str | tuple[str, str]]
    ) -> str:
        """Compare one update's LRs with the planned ones; return a sentence at the first difference, else nothing.

        Args:
            position: of the update.
            used: the LR of each group; and what else the plan moves, behind them.
            planned: the same, as planned.
            names: of the groups; for what is no LR, what it is and the group.
        """
        self.compared += 1
        if used == planned:  # nearly always, to the bit
            return ""
        wrong = [index for index, (lr, plan) in enumerate(zip(used, planned, strict=True)) if not _equal(lr, plan)]
        if not wrong:
            return ""
        self.different += 1
        gaps = {index: _gap(used[index], planned[index]) for index in wrong}
        largest = max(wrong, key=gaps.__getitem__)
        if gaps[largest] > self.worst:
            self.worst, self.worst_at, self.worst_group = gaps[largest], position, _whose(names[largest])
        if self.first_at >= 0:  # said once; what follows is counted, for a wrong writer writes at every update
            return ""
        self.first_at = position
        whose = names[largest]
        key, name = ("LR", whose) if isinstance(whose, str) else whose
        return (
            f"update {position:,} used {key} {used[largest]:.8g} in group {name!r}, and the {self.source} says "
            f"{planned[largest]:.8g}: {self.blame('lr' if key == 'LR' else key)}"
        )

    def blame(self, key: str = "lr") -> str:
        """Say who may have written another LR, or another number that the plan moves."""
        return f"something else writes param_groups[{key!r}], which only the schedule should"

    def skip(self, position: int, count: int = 1) -> None:
        """Note optimizer steps that changed nothing."""
        if not self.skipped:
            self.skipped_at = position
        self.skipped += count

    def state_dict(self) -> dict[str, Any]:
        """Return the counts as plain values, for checkpoints."""
        counts: dict[str, Any] = plain(asdict(self))
        return counts

    @classmethod
    def going_on(cls, counts: dict[str, Any]) -> Audit:
        """Return the audit that goes on from what ``state_dict()`` returned, of this version or another."""
        known = {part.name for part in fields(cls)}
        return cls(**{name: value for name, value in counts.items() if name in known})

    def closing_line(
        self,
        position: int,
        total: int | None,
        planned: bool = True,
        part: str = "schedule",
        missing: int = 0,
        mark: Callable[[int], str] = "{:,}".format,
    ) -> str:
        """Return the sentence that ends a run.

        Args:
            position: updates completed.
            total: updates of the plan; ``None`` when it has no end.
            planned: whether there was a plan to compare with.
            part: what the plan is of the run: its ``"schedule"``, or a ``"warmup"`` over somebody else's.
            missing: updates whose rows could not be written, or were lost.
            mark: writes a position, which in a run that follows the clock is a time.

        Example:
            >>> Audit(compared=100).closing_line(position=100, total=100)
            'used = planned on 100 of 100 updates, schedule complete'
        """
        judged = planned and bool(self.known or not self.compared)
        parts = [self.verdict(planned), *([share_of(part, position, total, mark)] if judged and part else [])]
        if self.skipped:
            parts.append(f"{_updates(self.skipped, 'skipped ')} (the first at position {self.skipped_at:,})")
        parts += [*_moved("joined", self.late), *_moved("left", self.left)]
        parts += [f"the record lacks {_updates(missing)}"] if missing else []
        return ", ".join(parts)

    @property
    def known(self) -> int:
        """Updates that could be compared."""
        return self.compared - self.unplanned

    def verdict(self, planned: bool = True) -> str:
        """Return what came out of the comparison, or that there was none."""
        if not planned or (self.compared and not self.known):
            return f"recorded {_updates(self.compared)}, there is no {self.source} to compare with"
        line = f"used = {self.word} on {self.known - self.different:,} of {self.known:,} updates"
        if self.unplanned:
            line += f", nothing was known of {self.unplanned:,} more"
        if not self.different:
            return line
        return (
            f"{line}, largest difference {self.worst:g} in group {one_line(self.worst_group)} at update "
            f"{self.worst_at:,} (the first at {self.first_at:,})"
        )


class ForecastAudit(Audit):
    """The same of a forecast, which nobody carries out.

    Attributes:
        guess: asked who may have written another LR; returns nothing where that is not known.
    """

    source = word = "forecast"
    guess: Callable[[], str] | None = None

    def blame(self, key: str = "lr") -> str:
        guessed = self.guess() if self.guess is not None else ""
        return f"something else than the schedulers writes param_groups['lr']{guessed and f', perhaps {guessed}'}"

    def closing_line(
        self,
        position: int,
        total: int | None,
        planned: bool = True,
        part: str = "run",
        missing: int = 0,
        mark: Callable[[int], str] = "{:,}".format,
    ) -> str:
        ended = total is None or position + self.skipped >= total  # those that change nothing are foretold too
        return super().closing_line(position, total, planned, "" if ended else part, missing, mark)


def _moved(how: str, groups: Mapping[str, int]) -> list[str]:
    """When each group joined or left; of very many the first few, and how many there were."""
    told = [f"group {one_line(name)} {how} at update {at:,}" for name, at in islice(groups.items(), _MANY_GROUPS)]
    more = len(groups) - len(told)
    return [*told, f"{more:,} more groups {how}"] if more else told


def share_of(part: str, position: int, total: int | None, mark: Callable[[int], str] = "{:,}".format) -> str:
    """Say how much of a schedule or a warmup was run.

    Example:
        >>> share_of("schedule", 370, 1000), share_of("schedule", 1000, 1000), share_of("schedule", 5, None)
        ('schedule ended at 37% (370 of 1,000)', 'schedule complete', 'schedule has no end')
    """
    if total is None:
        return f"{part} has no end"
    # Position T: update T - 1, the last of the plan, is completed.
    if position < total:
        percent = 100 * position // total  # 99.9 % is not complete
        return f"{part} ended at {percent}% ({mark(position)} of {mark(total)})"
    past = f", {_updates(position - total)} past its end" if position > total and part == "schedule" else ""
    return f"{part} complete{past}"


def _equal(used: float, planned: float) -> bool:
    return used == planned or math.isclose(used, planned, rel_tol=_TOLERANCE, abs_tol=_SMALLEST)


def _whose(name: str | tuple[str, str]) -> str:
    return name if isinstance(name, str) else f"{name[1]} ({name[0]})"


def _gap(used: float, planned: float) -> float:
    gap = abs(used - planned)
    return math.inf if math.isnan(gap) else gap  # an LR that is not a number is as wrong as can be


def _updates(count: int, kind: str = "") -> str:
    return counted(count, f"{kind}update")
