"""What every update of a random run should have used, and whether it did."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lr_recipes.report.lr_csv import read_rows
from tests.torture import reference
from tests.torture.case import LRS, SHARES, Case
from tests.torture.module import Fact, Update
from tests.torture.reference import Factor, Facts, PlateauCuts
from tests.torture.run import FirstFitRefused, Outcome, given_total, run


class Refused(Exception):
    """There is nothing to compare with: the plan cannot be, or plain Lightning does not do it either."""


# What a user is rightly told about a plan that does not fit into its run.
RIGHTLY_REFUSED = (
    "would never be reached",
    "do not fit into",
    "last phase would begin",
    "does not come after",
    "is less than one",
    "is above the peak LR",
)


def check(case: Case, folder: Path) -> str:
    """Run the case; return what was wrong, or nothing.

    Raises:
        Refused: there is nothing to compare with.
    """
    plain = None
    if case.owner in ("warmup", "logger"):
        try:
            plain = run(case, folder / "plain", plain=True)
        except Exception as error:
            raise Refused(f"plain Lightning: {error}") from error
    try:
        outcome = run(case, folder / "run")
    except (FirstFitRefused, ValueError) as refused:
        if any(words in str(refused) for words in RIGHTLY_REFUSED):
            raise Refused(str(refused)) from refused
        raise
    if case.story == "resumed":
        case.features.add(f"from {outcome.went_on_from.split('-')[0].removesuffix('.ckpt') or 'nothing'}")
    expected = _ByPlans(case, outcome) if plain is None else _ByPlain(case, plain)
    return next((wrong for wrong in _wrongs(case, outcome, expected) if wrong), "")


def _wrongs(case: Case, outcome: Outcome, expected: _ByPlans | _ByPlain) -> Iterator[str]:
    """Everything that can be wrong, one after another."""
    yield expected.asking(outcome)
    for index in range(len(case.optimizers)):
        used, planned = outcome.updates(index), expected.lrs(index)
        yield _compared(used, planned, expected.tolerance(index), index)
        if not outcome.asked:
            yield expected.counted(index, len(used))
            if case.policy != "restart" and outcome.trained:
                yield _in_file(case, outcome, index)
    yield _closing_line(case, outcome)


def _compared(
    used: Sequence[Update], planned: Sequence[dict[str, float]], tolerance: Callable[[int], float], index: int
) -> str:
    for n, (update, plan) in enumerate(zip(used, planned, strict=False)):
        if set(plan) != set(update.lrs) or not all(
            math.isclose(update.lrs[name], lr, rel_tol=tolerance(n)) for name, lr in plan.items()
        ):
            return f"update {n} of optimizer {index} used {update.lrs}, and should have used {plan}"
    return ""


def _in_file(case: Case, outcome: Outcome, index: int) -> str:
    """The file has every update once, with the LR that was used; a group that is not there has any value."""
    kind, before = case.optimizers[index], case.optimizers[:index].count(case.optimizers[index])
    suffix = "" if len(case.optimizers) == 1 else f"-{kind}-{before}" if before else f"-{kind}"
    path = outcome.folder / f"lr{suffix}.csv"
    rows, used = list(read_rows(path)), outcome.updates(index)
    steps = [row.get("step", "") for row in rows]
    if steps != [str(n) for n in range(len(used))]:
        return f"{path.name} has updates {','.join(steps)}, the run did {len(used)}"
    for n, (row, update) in enumerate(zip(rows, used, strict=True)):
        wrong = [name for name, lr in update.lrs.items() if row[f"lr/{name}"] != repr(lr)]
        if wrong:
            return f"row {n} of {path.name} is {row}, and the update used {update.lrs}"
    return ""


def _closing_line(case: Case, outcome: Outcome) -> str:
    """The last closing line found nothing wrong in any of the updates, for each optimizer that has a plan."""
    lines = [text for text in outcome.told if text.startswith("Learning rate") and "updates" in text and ": " in text]
    if outcome.asked or not outcome.trained or case.owner != "scheduler" or case.policy == "restart":
        return ""
    for index, schedule in enumerate(case.schedules):
        count = len(outcome.updates(index))
        if schedule is not None and not any(
            f": used = planned on {count:,} of {count:,} updates" in line for line in lines
        ):
            return f"no closing line says that all {count} updates of optimizer {index} were as planned: {lines}"
    return ""


def _tolerance(case: Case) -> float:
    return 1e-6 if case.tensor_lr else 1e-9  # a tensor LR has 32 bits


class _ByPlain:
    """What plain Lightning did, and a warmup's factor on top."""

    def __init__(self, case: Case, plain: Outcome) -> None:
        self.case, self.plain = case, plain

    def lrs(self, index: int) -> list[dict[str, float]]:
        case, warm = self.case, reference.warmup_factor(self.case.warmup_type, None, self._warmup(index))
        lrs, begins = list[dict[str, float]](), 0
        for event in self.plain.events:
            if isinstance(event, Update) and event.optimizer == index:
                lrs.append({name: lr * warm(len(lrs) - begins) for name, lr in event.lrs.items()})
            elif isinstance(event, Fact) and event.name == "fit" and case.policy == "restart" and event.value >= 0:
                begins = len(lrs)  # not from a checkpoint, whose warmup is this one
        return lrs

    def tolerance(self, index: int) -> Callable[[int], float]:
        """From the end of the warmup on, the LR is the scheduler's own, bit for bit."""
        length = math.inf if self.case.policy == "restart" else self._warmup(index)
        return lambda n: 0.0 if n >= length else _tolerance(self.case)

    def _warmup(self, index: int) -> int:
        case = self.case
        facts = Facts(case.total(case.epochs, index), case.updates(case.epochs, index))
        return reference.mark(case.warmup, facts)

    def asking(self, outcome: Outcome) -> str:
        return f"asked without need: {outcome.asked}" if outcome.asked else ""

    def counted(self, index: int, count: int) -> str:
        did = len(self.plain.updates(index))
        return "" if count == did else f"{count} updates of optimizer {index}, and {did} in plain Lightning"


class _ByPlans:
    """What the schedules say, written out."""

    def __init__(self, case: Case, outcome: Outcome) -> None:
        self.case, self.outcome, self.events = case, outcome, outcome.events
        self.plain: Outcome | None = None
        self.plans = [self._two_plans(index) for index in range(len(case.schedules))]

    def _two_plans(self, index: int) -> list[tuple[Factor, Facts]]:
        """The plans of the first and of the second fit, of one optimizer."""
        case, schedule = self.case, self.case.schedules[index]
        if schedule is None:
            return [(lambda n: 1.0, Facts(None))] * 2
        peak = next((one.value for one in self.events if isinstance(one, Fact) and one.name == "peak"), LRS["a"])
        samples = 2 * case.accumulate
        plans = []
        for total, epochs in zip(self._totals(index), (case.epochs, case.epochs + case.more_epochs), strict=True):
            lengths = case.updates(epochs, index)
            if plans and case.policy == "restart":  # its first epoch is that of the second fit
                lengths = lengths[self._begins_with :] or lengths
                peak *= self._largest_left(index) / LRS["a"]
            facts = Facts(total, lengths, samples, peak * SHARES[index])
            plans.append((reference.factor(schedule, facts), facts))
        return plans

    def _largest_left(self, index: int) -> float:
        """The largest base LR that the groups of one optimizer had when the first fit had ended."""
        fit = next((n for n, one in enumerate(self.events) if isinstance(one, Fact) and one.name == "fit"), 0)
        before = [one.lrs for one in self.events[:fit] if isinstance(one, Update) and one.optimizer == index]
        return max(LRS[name] for name in before[-1]) if before else LRS["a"]

    @property
    def _begins_with(self) -> int:
        """The epoch that a second fit begins with; 0 where it goes on from a checkpoint."""
        fits = (one.value for one in self.events if isinstance(one, Fact) and one.name == "fit")
        return max(int(next(fits, 0)), 0)

    def _totals(self, index: int) -> list[int]:
        case, more = self.case, self.case.epochs + self.case.more_epochs
        if case.total_given:
            return [given_total(case, index)] * 2
        second = case.total(more, index)
        for n, one in enumerate(self.events):
            goes_back = isinstance(one, Fact) and one.value < 0  # to a checkpoint: nothing of the epoch is done again
            if isinstance(one, Fact) and one.name == "fit" and "broken epoch" in case.features and not goes_back:
                # The second fit begins with the epoch that was broken off.
                done = sum(isinstance(event, Update) and event.optimizer == index for event in self.events[:n])
                second = done + sum(case.updates(more, index)[int(one.value) :])
        return [case.total(case.epochs, index), second]

    def differ(self, index: int) -> bool:
        """Whether some update that both plans have would use another LR."""
        (old, first), (new, second) = self.plans[index]
        return any(
            not math.isclose(old(n), new(n), rel_tol=1e-12) for n in range(min(first.total or 0, second.total or 0))
        )

    @property
    def _goes_on(self) -> bool:
        """Whether there is a second fit that knows the plan of the first."""
        return self.case.story == "again" or bool(self.outcome.went_on_from)

    def asking(self, outcome: Outcome) -> str:
        differ = any(self.differ(index) for index in range(len(self.plans)))
        should_ask = self._goes_on and self.case.policy == "error" and differ
        if should_ask != bool(outcome.asked):
            return f"asked: {outcome.asked or 'nothing'}" if outcome.asked else "did not ask, though the plans differ"
        return ""

    def lrs(self, index: int) -> list[dict[str, float]]:
        case, schedule = self.case, self.case.schedules[index]
        cuts = PlateauCuts(schedule) if type(schedule).__name__ == "Plateau" else None
        bases = {name: lr * SHARES[index] for name, lr in LRS.items()}
        (plan, facts), lrs = self.plans[index][0], list[dict[str, float]]()
        epoch, held_at, start = -1, 0, 0
        for event in self.events:
            if isinstance(event, Update):
                if event.optimizer != index:
                    continue
                n = len(lrs) - start
                if case.interval == "step" or event.epoch != epoch:
                    epoch, held_at = event.epoch, n
                factor = plan(held_at) * (cuts.scale(facts) if cuts else 1.0)
                lrs.append({name: bases[name] * factor for name in event.lrs})
            elif event.name == "metric" and cuts:
                cuts.see(event.value)
            elif event.name == "rebuilt":
                bases = {name: LRS[name] * SHARES[index] * event.value for name in bases}
            elif event.name == "peak":
                ratio = event.value / LRS["a"]  # of the groups that it found; "c" joins later, with an LR of its own
                bases = {name: lr * (1.0 if name == "c" else ratio) for name, lr in bases.items()}
            elif event.name == "fit":
                plan, facts = self.plans[index][0 if self._goes_on and case.policy == "checkpoint" else 1]
                differ = any(self.differ(one) for one in range(len(self.plans)))
                if case.policy == "restart" and (event.value >= 0 or differ):
                    start, epoch = len(lrs), -1
                    cuts = PlateauCuts(schedule) if cuts else None
        return lrs

    def tolerance(self, index: int) -> Callable[[int], float]:
        return lambda n: _tolerance(self.case)

    def counted(self, index: int, count: int) -> str:
        """How many updates there are, where nothing in the case cuts an epoch short or leaves updates out."""
        case = self.case
        cut_short = case.stop is not None and case.stop[0] in ("time", "should_stop")
        if case.overflow or case.lossless or cut_short or case.story == "again":
            return ""
        total = case.total(case.epochs + case.more_epochs, index)
        if count == total:
            return ""
        if case.accumulate_by_epoch and case.max_steps < 0:  # plain Lightning forgets it within an epoch, and we do not
            return f"{count} updates of optimizer {index}, and there should be {total}"
        # Else Lightning does not always go on right, above all with `max_steps`; then it does not without us either.
        if self.plain is None:
            self.plain = run(case, self.outcome.folder.parent / "plain", plain=True)
        did = len(self.plain.updates(index))
        return (
            "" if count == did else f"{count} updates of optimizer {index}, {did} in plain Lightning; planned {total}"
        )
