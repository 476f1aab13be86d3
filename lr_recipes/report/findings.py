"""Named faults of a series of LRs, played ahead or recorded: what happens to the LR, at which update, what mends it.

One function for each, and its row in ``FINDINGS``. A function is given a ``Case`` and returns the update at which it
shows and the sentence that says so, or nothing; what a case does not know (a record has no schedulers) is empty, and no
reason for a finding. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from lr_recipes.checks import counted
from lr_recipes.plan.series import Leg, Series, Ticked

_LITTLE = 0.02  # of the way from the peak to the floor: what is left at the end is no matter below it
_CLIMB = 0.01  # of the peak: a rise that is worth a word
_FLOOR = 0.05  # of the peak: a floor at which training is as good as over
_LONG = 0.2  # of the run: so long at the floor is too long
_HIGH = 0.1  # of the peak: what a last cycle leaves
_VANISHED = 1e-6  # of the peak
_ALIKE = 1e-9
_RESTART = 0.5  # of the peak: a leap to there is a restart
_HELD = 3  # ticks without a change, after which an LR is held
_TOTALS = ("total", "max", "steps", "iters", "epochs", "t_initial", "length", "decay")


class Finding(NamedTuple):
    """What is wrong with the LRs of a run.

    Attributes:
        name: one of ``FINDINGS``.
        optimizer: index of the optimizer.
        update: the update at which it shows first; ``None`` where it is no matter of one.
        message: what will happen, at which update, and the one change that mends it.
    """

    name: str
    optimizer: int
    update: int | None
    message: str


class Reacting(NamedTuple):
    """What a plateau can do in a run, whatever its metric does.

    Attributes:
        monitor: name of the metric.
        patience: decisions without a better value that it waits for.
        decisions: how often it is told a value.
        cuts: whether a metric that never gets better leads to a cut that an update uses.
        stale: the first update that a metric which gets better with each validation leads to a cut for.
        validations: validations in the run; ``None`` where the metric is no matter of them.
    """

    monitor: str
    patience: int
    decisions: int
    cuts: bool
    stale: int | None = None
    validations: int | None = None


@dataclass(frozen=True)
class Case:
    """What is known of the LRs of one optimizer, played ahead or recorded.

    Attributes:
        series: what the updates use.
        whole: whether the series goes to the end of the run.
        schedulers: those that are on the optimizer.
        onward: what would follow, were the run longer.
        raised_onward: whether it ends with an error of the scheduler's, which is past its end.
        built: the LR that each group was built with.
        epochs: epochs of the run.
        batches: in an epoch.
        accumulate: batches in an update; 0 where that changes.
        planned: updates that the run is to have, where that is known.
        raised: the first update that is never done, and the error that keeps it away.
        undone: updates at which two schedulers undo each other: the first, how many, and who.
        replaced: the first update after a callback has put a scheduler of its own in the place of this one, and both.
        late: the first update that uses the LR of the epoch before it, and the way out.
        plateaus: what plateaus can do.
        unread: kinds of schedulers that were built on the optimizer, and that nobody ticks.
        lengths: settings in which a checkpoint is of another length than this run: kind, name, here, there.
        own_warmup: the optimizer that warms up in its own step, the name of a group, and over how many updates.
        optimizer: its index.
        held: updates that an LR lasts while it changes, as a record shows; 0 where the ticks say it.
    """

    series: Series
    whole: bool = True
    schedulers: Sequence[Ticked] = ()
    onward: Series | None = None
    raised_onward: bool = False
    built: Sequence[float] = ()
    epochs: int | None = None
    batches: int | None = None
    accumulate: int = 1
    planned: int | None = None
    raised: tuple[int, str] | None = None
    undone: tuple[int, int, str, str] | None = None
    replaced: tuple[int, str, str] | None = None
    late: tuple[int, str] | None = None
    plateaus: Sequence[Reacting] = ()
    unread: Sequence[str] = ()
    lengths: Sequence[tuple[str, str, Any, Any]] = ()
    own_warmup: tuple[str, str, int] | None = None
    optimizer: int = 0
    held: int = 0

    @cached_property
    def spacing(self) -> int:
        """Updates that an LR lasts where every tick changes it."""
        if self.held:
            return self.held
        gaps = [
            (one.interval, after - before)
            for one in self.schedulers
            for before, after in pairwise(one.ticks)
            if after > before
        ]
        steps = [gap for interval, gap in gaps if interval == "step"]
        # Epochs may be of several lengths, and a tick of each may be skipped.
        return min(steps) if steps else max((gap for _, gap in gaps), default=1)

    @cached_property
    def legs(self) -> list[Leg]:
        """Stretches of the group with the largest LR."""
        return self.series.legs(self.leader, self.spacing)

    @cached_property
    def leader(self) -> int:
        """The group with the largest LR."""
        return self.series.leader

    @cached_property
    def peak(self) -> float:
        """The largest LR that is used."""
        return self.series.peak(self.leader)

    @property
    def last(self) -> float:
        """LR of the last update, in the group with the largest."""
        lrs = self.series.lrs[self.leader]
        return lrs[-1] if lrs else 0.0

    @property
    def meant(self) -> bool:
        """Whether climbing again is meant."""
        return any(one.restarts for one in self.schedulers)


Seen = tuple[int | None, str] | None


# What the settings say


def _total_unknown(case: Case) -> Seen:
    for one in _with_parts(case.schedulers):
        for name, value in one.settings.items():
            if _is_odd_total(name, value):
                return None, (
                    f"{one.kind} was given {name}={value}: whoever computed that did not know how long the run is, and "
                    f"no update uses the LR that was meant. Give {name} the number of its ticks; where it comes "
                    "from the Trainer, give that max_epochs or max_steps"
                )
    return None


def _is_odd_total(name: str, value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and (value == -1 or math.isinf(value)) and any(word in name.lower() for word in _TOTALS)


def _other_length(case: Case) -> Seen:
    for kind, name, here, there in case.lengths:
        return case.series.first, (
            f"{kind} was built with {name}={here} for this run, and the checkpoint has put back its own "
            f"{name}={there}: the LR goes on as in a run of the old length. Set scheduler.{name} = {here} in "
            "on_train_start, or load the weights alone"
        )
    return None


def _own_warmup(case: Case) -> Seen:
    if case.own_warmup is None:
        return None
    kind, name, updates = case.own_warmup
    return case.series.first, (
        f"{kind} was built with warmup_steps={updates}, and multiplies the LR of {name} within its own step: its first "
        f"{updates} updates use less than is foretold and recorded. Build it with warmup_steps=0, and add "
        f"LearningRateWarmup({updates}) to the callbacks"
    )


def _never_ticks(case: Case) -> Seen:
    for kind in case.unread:
        return case.series.first, (
            f"{kind} was built on this optimizer, and never reached Lightning: the LR stays at {case.last:g}. Let "
            'configure_optimizers return it, in a dictionary under the key "lr_scheduler"'
        )
    if case.replaced is not None and case.replaced[0] == case.series.first:  # somebody else is ticked in its place
        return None
    for one in case.schedulers:
        if one.interval and not one.ticks and len(case.series):
            return case.series.first, f"{one.kind} is never ticked: {_why_never(case, one)}"
    return None


def _why_never(case: Case, one: Ticked) -> str:
    if one.interval == "step" and case.batches is not None and one.frequency > case.batches:
        return (
            f"frequency={one.frequency} counts the batches of an epoch, which has {case.batches:,}, and the LR stays "
            f"at {case.last:g}. Give a frequency of at most {case.batches:,}"
        )
    if one.frequency > 1:
        what = "epochs" if one.interval == "epoch" else "batches, where an update is done"
        return f"frequency={one.frequency} counts {what}, and the run has fewer. Give a smaller one"
    if one.interval == "epoch":
        return "its turn is the end of an epoch, and the run ends within its first one. Give interval='step'"
    return "the module's own lr_scheduler_step does not step it. Let it call scheduler.step()"


def _milestone_never_hit(case: Case) -> Seen:
    for one in case.schedulers:
        found = next(filter(None, _missed(one, one.reach)), "")
        if found and one.ticks:
            each = ", once an epoch" if one.interval == "epoch" else ""
            said = f"{found}: it is ticked {counted(one.reach, 'time')}{each}. {_hit(found, one, case.series.end)}"
            return case.series.first, said
    return None


def _missed(one: Ticked, reach: int) -> Iterator[str]:
    """What of a scheduler is never reached in so many ticks, in words."""
    own = one.settings
    stones = own.get("milestones", [])
    odd = [stone for stone in stones if stone != int(stone) or stone < 0]
    late = [stone for stone in stones if stone > reach and stone not in odd]
    if one.kind == "MultiStepLR":
        if odd:
            yield f"{_stones(odd)} of MultiStepLR {_are(odd)} never hit, for ticks are counted in whole numbers"
        if late:
            yield f"{_stones(late)} of MultiStepLR {_are(late)} never hit"
    if one.kind == "StepLR" and "step_size" in own:
        size = own["step_size"]
        if size != int(size):
            yield f"step_size={size:g} of StepLR is not a whole number of ticks, so most of its cuts are left out"
        elif size > reach:
            yield f"step_size={size:,} of StepLR is never reached, so there is no cut"
    if one.kind == "SequentialLR":
        if late:
            yield f"{_stones(late)} of SequentialLR {_are(late)} never reached, and what is to follow never begins"
        begins = [0, *stones]
        for first, part in zip(begins, one.parts, strict=False):
            yield from _missed(part, max(reach - int(first), 0)) if first <= reach else ()
    if one.kind == "ChainedScheduler":
        for part in one.parts:
            yield from _missed(part, reach)


def _stones(stones: Sequence[float]) -> str:
    return f"milestone{'' if len(stones) == 1 else 's'} {_enumerated(stones)}"


def _hit(found: str, one: Ticked, total: int) -> str:
    """What is to be given that it is hit."""
    numbers = [*one.settings.get("milestones", []), one.settings.get("step_size", 0)]
    if one.interval == "epoch" and one.reach < max(numbers, default=0) <= total:
        return f"If that counts updates, of which there are {total:,}, give interval='step'"
    if "whole" in found:
        shares = all(0 < number < 1 for number in numbers if number)
        return (
            f"Multiply shares of the run by its {one.reach:,} ticks, and round: int(...)"
            if shares
            else ("Round what is given: int(...)")
        )
    return f"Give a number below {one.reach:,}"


def _frequency_restarts(case: Case) -> Seen:
    for one in case.schedulers:
        batches = case.batches
        if one.interval != "step" or one.frequency < 2 or case.accumulate != 1 or not one.ticks or batches is None:
            continue
        even = [one.frequency * (number + 1) for number in range(len(one.ticks))]
        if batches % one.frequency and [*one.ticks] != even and not _as_long_as_it_ticks(one):
            return one.ticks[0], (
                f"frequency={one.frequency} counts the batches of an epoch, and begins anew in each: {one.kind} is "
                f"ticked {counted(batches // one.frequency, 'time')} in each epoch of {batches:,} batches, and not "
                f"every {one.frequency} updates. Leave frequency out, and make the schedule {one.frequency} times as "
                f"many ticks long, or give one that divides {batches:,}"
            )
    return None


def _frequency_with_accumulation(case: Case) -> Seen:
    for one in case.schedulers:
        if one.interval != "step" or one.frequency < 2 or case.accumulate == 1 or not one.ticks:
            continue
        meant = case.series.end // one.frequency
        if meant != one.reach and not _as_long_as_it_ticks(one):
            return one.ticks[0], (
                f"frequency={one.frequency} counts batches, and an update takes {case.accumulate or 'some'} of them: "
                f"{one.kind} is ticked {counted(one.reach, 'time')}, and not {meant:,}, once in {one.frequency} "
                f"updates. Leave frequency out, and make the schedule as long as the {case.series.end:,} updates"
            )
    return None


def _as_long_as_it_ticks(one: Ticked) -> bool:
    """Whether who built it knew how often it is ticked."""
    return one.length is not None and abs(one.length - one.reach) <= _LITTLE * one.length


# What a playing ahead has shown


def _raises(case: Case) -> Seen:
    if case.raised is None:
        return None
    update, why = case.raised
    one = _lasting(case) or next(iter(case.schedulers), None)
    ticks = None if one is None or one.kind == "ReduceLROnPlateau" else _ticks_planned(case, one)
    way = "" if one is None or ticks is None or ticks <= one.reach else f". {_as_long_as(one, ticks)}"
    return update, f"the run stops before update {update:,} with an error: {why}{way}"


def _two_writers(case: Case) -> Seen:
    if case.undone is None:
        return None
    update, count, first, second = case.undone
    both = f"two {first}s" if first == second else f"{first} and {second}"
    others = [kind for kind in (first, second) if kind != "ReduceLROnPlateau"]
    way = "Multiply both in one LambdaLR, or run one after the other in a SequentialLR"
    if len(others) == 1:
        way = f"Put LinearLR, which multiplies what is there, in the place of {others[0]}"
    return update, (
        f"{both} write the LR of this optimizer, and undo each other's work: from update {update:,} on, in "
        f"{counted(count, 'update')}, it is not the product of the two. {way}"
    )


def _replaced(case: Case) -> Seen:
    if case.replaced is None:
        return None
    update, by, gone = case.replaced
    return update, (
        f"{by} puts a scheduler of its own in the place of {gone} from update {update:,} on, and leads the LR to "
        f"swa_lrs, {case.last:.3g} at the end. Let {gone} end before that, or leave one of the two out"
    )


def _late_by_one(case: Case) -> Seen:
    if case.late is None:
        return None
    update, way = case.late
    return update, (
        f"from update {update:,} on each epoch uses the LR of the epoch before: the scheduler is ticked when an epoch "
        f"is over, and goes by that one's number. {way}"
    )


def _plateau_cannot_cut(case: Case) -> Seen:
    for one in case.plateaus:
        if not one.cuts and one.decisions:
            return None, (
                f"ReduceLROnPlateau is told {one.monitor} {counted(one.decisions, 'time')}, and with "
                f"patience={one.patience} cuts after {one.patience + 2} times at the earliest: no update can use a cut "
                f"LR, whatever the metric does. {_less_patience(one)}"
            )
    return None


def _less_patience(one: Reacting) -> str:
    most = one.decisions - 3  # the first value is the best, and a cut after the last one is used by no update
    return f"Give patience={most}{' or less' if most else ''}" if most >= 0 else "Let it be told more often"


def _plateau_stale(case: Case) -> Seen:
    for one in case.plateaus:
        if one.cuts and one.stale is not None:
            return one.stale, (
                f"ReduceLROnPlateau is told {one.monitor} {counted(one.decisions, 'time')}, and there "
                f"{_were(one.validations)}: it takes an old value for one that is no better, and cuts the LR of "
                f"update {one.stale:,} even if the metric gets better each time. Give it the rhythm of the "
                "validations, with interval and frequency"
            )
    return None


# What the LRs say


def _negative_lr(case: Case) -> Seen:
    for group, name in enumerate(case.series.names):
        for first, _, lr in case.series.stretches(group):
            if lr < 0:
                return first, f"update {first:,} uses an LR below 0, {lr:.3g} in {name}: {_ends_at(case)}"
    return None


def _first_updates_zero(case: Case) -> Seen:
    series = case.series
    if series.first or not len(series) or any(own[0] for own in series.lrs) or not case.peak:
        return None
    count = series.firsts[1] if len(series.firsts) > 1 else series.end
    what = "update 0 trains nothing" if count == 1 else f"updates 0 to {count - 1:,} train nothing"
    share = "" if count == 1 else f" ({count:,} of {series.end:,})"
    return 0, f"{what}{share}: the warmup begins at 0. Let it begin one tick later, as by (n + 1) / W in place of n / W"


def _ratio_changed(case: Case) -> Seen:
    built, series = case.built, case.series
    if len(set(built)) < 2 or len(built) != len(series.names) or not len(series):
        return None
    if any(one.apart for one in case.schedulers):
        return None
    lrs = series.at(_peak_at(case))
    if any(abs(lr - lrs[0]) > _ALIKE * abs(lrs[0]) for lr in lrs):
        return None
    kind = case.schedulers[0].kind if case.schedulers else "the schedule"
    return series.first, (
        f"the groups were built with LRs {_enumerated(built)}, and {kind} leads all of them to {lrs[0]:.3g}: their "
        f"ratio is gone from update {series.first:,} on. Give {kind} a list of {len(built)} values"
    )


def _group_rises(case: Case) -> Seen:
    series = case.series
    if any(one.apart for one in case.schedulers) or not len(series):
        return None
    top = _peak_at(case)
    for group, name in enumerate(series.names):
        own, begin, end = series.lrs[group], series.at(top)[group], series.lrs[group][-1]
        lead = series.lrs[series.leader]
        falls = lead[-1] < (1 - _HIGH) * case.peak
        floors = [one.settings.get("eta_min", one.settings.get("lr_min")) for one in _with_parts(case.schedulers)]
        alone = any(isinstance(floor, (int, float)) and own and floor > own[0] for floor in floors)
        if end > begin * (1 + _CLIMB) and begin >= 0 and (falls if group != series.leader else alone):
            floor = next((f"eta_min={floor:g}" for floor in floors if floor), "an absolute floor")
            while_others = ", while others decay" if len(series.names) > 1 else ""
            return top, (
                f"the LR of {name} goes up, from {begin:.3g} to {end:.3g}{while_others}: {floor} lies above it. "
                "Give a floor below the smallest LR of all groups"
            )
    return None


def _vanishes(case: Case) -> Seen:
    if case.peak <= 0 or _floor(case) is not None or not (case.whole or case.batches):
        return None  # or nobody knows of how many updates
    top = _peak_at(case)
    small = [
        (first, count) for first, count, lr in case.series.stretches(case.leader) if abs(lr) < _VANISHED * case.peak
    ]
    lasts = sum(count for first, count in small if first > top)
    if not small or lasts <= len(case.series) / 2:
        return None
    at = next(first for first, _ in small if first > top)
    return at, (
        f"from update {at:,} on the LR is below a millionth of its peak, {case.peak:.3g}, in {lasts:,} of "
        f"{len(case.series):,} updates: {_too_often(case)}"
    )


def _finished_early(case: Case) -> Seen:
    floor = _floor(case)
    if floor is None:
        return None
    at, lr = floor
    left = case.series.end - at
    if left <= _LONG * len(case.series) or not case.whole:
        return None
    return at, (
        f"the LR has come down to {lr:.3g} by update {at:,}, and stays there for the rest of the run, {left:,} of "
        f"{case.series.end:,} updates: {_length_in_words(case, fewer=True)}"
    )


def _climbs_again(case: Case) -> Seen:
    legs = case.legs
    falls = next((place for place, leg in enumerate(legs) if leg.name == "falls"), None)
    if case.meant or falls is None or case.plateaus or _is_wave(legs):
        return None
    known = any(one.kind == "CosineAnnealingLR" for one in _with_parts(case.schedulers))
    lows = [leg.end for leg in legs[falls:] if leg.name == "falls"]
    climbs = [
        leg
        for before, leg in pairwise(legs)
        if leg.first > legs[falls].first and leg.name == "rises" and leg.end - before.end >= _CLIMB * case.peak
        # In one leap to where it came from: a restart, which somebody has written on purpose.
        if known or leg.changes > 1 or leg.end < _RESTART * case.peak
    ]
    if not climbs:
        return None
    first = climbs[0]
    times = "once" if len(climbs) == 1 else f"{len(climbs):,} times"
    return first.first, (
        f"the LR falls to {min(lows):.3g} and from update {first.first:,} on climbs to {first.end:.3g}, {times}, and "
        f"ends at {case.last:.3g}: {_length_in_words(case, fewer=True)}"
    )


def _floor_not_reached(case: Case) -> Seen:
    if case.meant or case.plateaus or not case.whole or not case.legs:
        return None
    one = _lasting(case)
    falls = case.legs[-1].name == "falls" and case.legs[-1].changes > 1
    rises = case.legs[-1].name == "rises"
    if rises and (one is None or one.kind != "OneCycleLR"):
        return None  # the peak is what is not reached
    floor = _floor_onward(case)
    cut_off = one is not None and one.length is not None and one.length > one.reach
    if not (falls and floor is not None) and not cut_off:
        return None
    low = floor if floor is not None else 0.0
    after = _after_last(case)
    if after > case.last and not rises:  # it has come down, and would turn now
        return None
    top = max(case.peak, _highest(case.onward) if rises else 0.0)
    if not rises and after - low <= _LITTLE * (top - low):
        return None
    what = f"{case.last:.3g}, of a peak of {case.peak:.3g}, before its way down is over"
    if rises:
        what = f"{case.last:.3g}, while it still rises, and its way down never begins"
    return case.series.end - 1, f"the run ends at an LR of {what}: {_length_in_words(case)}"


def _peak_not_reached(case: Case) -> Seen:
    if not case.legs or case.legs[-1].name != "rises" or case.legs[-1].changes < 2 or not case.whole:
        return None
    one = _lasting(case)
    if any(leg.name == "falls" for leg in case.legs) or (one is not None and one.kind == "OneCycleLR"):
        return None
    top = _highest(case.onward)
    if case.onward is not None and not (_turns(case.onward, case.spacing) and top > (1 + _LITTLE) * case.last):
        return None
    of = f" of {top:.3g}" if top > case.last else ""
    return case.series.end - 1, (
        f"the LR is still rising when the run ends, at {case.last:.3g}{of}: {_rise_in_words(case)}"
    )


def _ends_high(case: Case) -> Seen:
    if not case.meant or not case.whole or not case.legs or any(one.kind == "CyclicLR" for one in case.schedulers):
        return None
    if all(leg.name == "holds" for leg in case.legs):  # cycles of one tick: the LR stays where it is
        return None
    low = min((leg.end for leg in case.legs if leg.name == "falls"), default=case.last)
    if case.onward is not None:
        low = min(low, *_until_rise(case.onward, case.last), case.last)
        done = not _goes_on_falling(case.onward, case.series)
    else:
        done = case.legs[-1].name != "falls"
    if done or case.last - low <= _HIGH * (case.peak - low):
        return None
    return case.series.end - 1, (
        f"the last cycle is not over when the run ends, and its last update uses {case.last:.3g}, of a peak of "
        f"{case.peak:.3g}. {_cycles(case)}"
    )


# What several of them ask


def _with_parts(schedulers: Sequence[Ticked]) -> list[Ticked]:
    return [part for one in schedulers for part in (one, *_with_parts(one.parts))]


def _lasting(case: Case) -> Ticked | None:
    """The scheduler with an end of its own."""
    return next((one for one in case.schedulers if one.length is not None), None)


def _peak_at(case: Case) -> int:
    """The first update that uses the largest LR."""
    own = case.series.lrs[case.leader]
    return case.series.firsts[own.index(max(own))]


def _floor(case: Case) -> tuple[int, float] | None:
    """Where the LR has come down gradually to a floor close to 0, and stays there: the update and the LR."""
    legs = case.legs
    if len(legs) < 2 or legs[-1].name != "holds" or legs[-2].name != "falls" or legs[-2].changes < 2:
        return None
    if case.peak <= 0 or legs[-1].end > _FLOOR * case.peak or case.plateaus:
        return None
    if legs[-1].changes > 1 and legs[-1].end < legs[-1].begin / 2:  # it goes on shrinking, where none can see it
        return None
    return legs[-1].first, legs[-1].end


def _after_last(case: Case) -> float:
    """The LR that an update past the last one would use."""
    onward = case.onward
    return onward.lrs[case.leader][0] if onward is not None and len(onward) else case.last


def _highest(series: Series | None) -> float:
    return 0.0 if series is None or not len(series) else series.peak(series.leader)


def _lrs_onward(onward: Series | None) -> list[float]:
    return [] if onward is None or not len(onward) else list(onward.lrs[onward.leader])


def _turns(onward: Series, spacing: int) -> bool:
    """Whether a rise comes to an end past the run."""
    lrs = _lrs_onward(onward)
    longest = max((count for _, count, _ in onward.stretches(onward.leader)), default=0)
    return longest > _HELD * spacing or any(after < before for before, after in pairwise(lrs))


def _floor_onward(case: Case) -> float | None:
    """The LR at which a fall that the run cuts off would have come to its end; ``None`` where it does not."""
    lrs = [case.last, *_lrs_onward(case.onward)]
    if _is_geometric(lrs, case.peak):
        return None
    for before, after in pairwise(lrs):
        if after > before:
            return before
        if after <= 0 < before:  # a straight line was to end there, or at a floor above it: one that is near, perhaps
            return max(after, 0.0) if case.last > _RESTART * case.peak else None
    onward = case.onward
    if onward is None or not len(onward):
        return None
    *_, (_, count, lr) = onward.stretches(onward.leader)
    held = count > _HELD * case.spacing or case.raised_onward
    return lr if held else None


def _is_geometric(lrs: Sequence[float], peak: float) -> bool:
    """Whether LRs fall by the same share at each change, until they are too small to be told apart."""
    shares = [(1 - after / before, after) for before, after in pairwise(lrs) if before > 0]
    small = next((share for share, lr in shares if lr < _VANISHED * peak), None)
    return small is not None and abs(small - shares[0][0]) <= _LITTLE * abs(shares[0][0])


def _until_rise(onward: Series, last: float) -> list[float]:
    lrs: list[float] = []
    for before, after in pairwise([last, *_lrs_onward(onward)]):
        if after > before:
            break
        lrs.append(after)
    return lrs


def _goes_on_falling(onward: Series, series: Series) -> bool:
    lrs = _lrs_onward(onward)
    return bool(lrs) and lrs[0] <= series.lrs[series.leader][-1]


def _is_wave(legs: Sequence[Leg]) -> bool:
    """Whether the LR swings to and fro from the start, each time for about as long: a cycle that is meant."""
    if len(legs) < 3 or legs[0].name != "rises":
        return False
    lengths = [leg.last - leg.first + 1 for leg in legs[:3]]
    if abs(legs[0].end - legs[2].end) > _HIGH * abs(legs[0].end) and len(legs) > 3:
        return False
    return (
        legs[0].end > 0
        and max(lengths[:2]) <= 1.5 * min(lengths[:2])
        and [leg.name for leg in legs[:2]] == ["rises", "falls"]
    )


def _length_in_words(case: Case, fewer: bool = False) -> str:
    """Which setting is guilty, and what to give in its place.

    Args:
        case: what is known.
        fewer: fewer ticks would mend it; else more would.
    """
    one = _lasting(case) or next(iter(case.schedulers), None)
    if one is None or not one.interval:
        return "the length that the schedule was made for is not that of the run. Give it the run's"
    ticks, in_epochs = one.reach, one.interval == "epoch"
    ticked = _how_often(one)
    if one.length is None or not one.told:
        if in_epochs == fewer:  # the other interval would make it worse
            return f"{ticked}. Make it last {counted(ticks, 'tick')}"
        unit, other = ("updates", "step") if in_epochs else ("epochs", "epoch")
        return f"{ticked}. If it counts {unit}, give interval={other!r}; else make it last {counted(ticks, 'tick')}"
    way = _as_long_as(one, ticks)
    told = f"{one.told}={one.length:g}"
    made = f"its parts last {one.length:g} ticks, which is" if one.parts else f"{told} is"
    if in_epochs and _close_to(one.length, case.series.end):
        return f"{ticked}, and {made} the number of updates. Give interval='step'"
    if not in_epochs and case.epochs and _close_to(one.length, case.epochs):
        return f"{ticked}, and {made} the number of epochs. {way}, or interval='epoch'"
    if not in_epochs and case.batches and case.epochs and _close_to(one.length, case.batches * case.epochs):
        return f"{ticked}, and {made} the number of batches. {way}"
    return f"{ticked}, and its parts last {one.length:g}. {way}" if one.parts else f"{ticked}, with {told}. {way}"


def _how_often(one: Ticked) -> str:
    """How often a scheduler is ticked, in words."""
    rhythm = f", once an {'epoch' if one.interval == 'epoch' else 'update'}" if one.frequency == 1 else ""
    return f"{one.kind} is ticked {counted(one.reach, 'time')}{rhythm}"


def _as_long_as(one: Ticked, ticks: int) -> str:
    """What makes a scheduler last so many ticks."""
    if one.length is None or not one.told:
        return f"Make {one.kind} last {counted(ticks, 'tick')}"
    before = int(one.settings["milestones"][-1]) if one.kind == "SequentialLR" else 0
    whose = f" to its {one.parts[-1].kind}" if before else ""
    return f"Give {one.told}={max(ticks - before, 1)}{whose}"


def _rise_in_words(case: Case) -> str:
    one = _lasting(case) or next(iter(case.schedulers), None)
    if one is None or not one.interval or one.length is not None:
        return _length_in_words(case)
    ticks = counted(one.reach, "tick")
    if one.interval == "epoch":
        return f"{_how_often(one)}. If it counts updates, give interval='step'; else a rise of fewer than {ticks}"
    way = f"step_size_up below {one.reach:,}" if one.kind == "CyclicLR" else f"a warmup of fewer than {ticks}"
    return f"its rise is longer than the {ticks} of {one.kind}. Give {way}"


def _close_to(length: float, count: int) -> bool:
    return abs(length - count) <= 0.05 * count


def _too_often(case: Case) -> str:
    for one in case.schedulers:
        if one.interval == "step":
            return f"{one.kind} is ticked at every update. If it counts epochs, give interval='epoch'"
    return "it decays too fast. Give it a factor closer to 1"


def _ends_at(case: Case) -> str:
    one = _lasting(case)
    if one is None:
        return "its decay goes on below 0. Let it end there, as by max(0, ...)"
    ticks = max(_ticks_planned(case, one) or 0, one.reach)
    return f"{one.kind} is past its end, {one.told}={one.length:g}. {_as_long_as(one, ticks)}"


def _ticks_planned(case: Case, one: Ticked) -> int | None:
    """How often a scheduler is to be ticked in the whole run, where that is known."""
    if one.frequency > 1:
        return None
    return case.epochs if one.interval == "epoch" else case.planned


def _cycles(case: Case) -> str:
    ticks = next((one.reach for one in case.schedulers if one.restarts), 0)
    end = "end with the run" if not ticks else f"add up to {counted(ticks, 'tick')}"
    return f"Give cycles that {end}"


def _were(validations: int | None) -> str:
    count = validations or 0
    return f"{'was' if count == 1 else 'were'} {counted(count, 'validation')}"


def _enumerated(values: Sequence[Any]) -> str:
    few = [f"{value:g}" for value in values[:8]]
    return ", ".join(few[:-1]) + (" and " if len(few) > 1 else "") + few[-1] if few else ""


def _are(values: Sequence[Any]) -> str:
    return "is" if len(values) == 1 else "are"


def of(case: Case) -> list[Finding]:
    """Return what is wrong with the LRs of a case: the findings, without those that only follow from another one."""
    found: dict[str, Finding] = {}
    for name, rule in FINDINGS.items():
        what = rule.look(case)
        if what is not None:
            found[name] = Finding(name, case.optimizer, *what)
    hidden = {name for one in found for name in FINDINGS[one].explains}
    return [one for name, one in found.items() if name not in hidden]


class Rule(NamedTuple):
    """A kind of finding.

    Attributes:
        look: finds it in a case.
        explains: kinds that are not worth a word beside it, for they follow from it.
    """

    look: Callable[[Case], Seen]
    explains: frozenset[str] = frozenset()


_OF_LENGTH = frozenset(
    {"climbs_again", "floor_not_reached", "peak_not_reached", "finished_early", "ends_high", "vanishes"}
)

# What is found before is not said again by what only follows from it.
FINDINGS: dict[str, Rule] = {
    "total_unknown": Rule(_total_unknown, _OF_LENGTH | {"negative_lr"}),
    "other_length": Rule(_other_length, _OF_LENGTH),
    "own_warmup": Rule(_own_warmup),
    "never_ticks": Rule(_never_ticks, _OF_LENGTH | {"milestone_never_hit", "plateau_cannot_cut", "first_updates_zero"}),
    "milestone_never_hit": Rule(_milestone_never_hit),
    "frequency_restarts": Rule(_frequency_restarts),
    "frequency_with_accumulation": Rule(_frequency_with_accumulation),
    "raises": Rule(_raises, _OF_LENGTH | {"plateau_cannot_cut", "plateau_stale"}),
    "two_writers": Rule(_two_writers, _OF_LENGTH | {"plateau_cannot_cut", "group_rises"}),
    "replaced": Rule(_replaced, _OF_LENGTH | {"milestone_never_hit", "ratio_changed", "group_rises"}),
    "late_by_one": Rule(_late_by_one, frozenset({"floor_not_reached"})),
    "plateau_cannot_cut": Rule(_plateau_cannot_cut),
    "plateau_stale": Rule(_plateau_stale),
    "negative_lr": Rule(_negative_lr, _OF_LENGTH),
    "first_updates_zero": Rule(_first_updates_zero),
    "ratio_changed": Rule(_ratio_changed, frozenset({"group_rises"})),
    "group_rises": Rule(_group_rises, frozenset({"climbs_again", "peak_not_reached"})),
    "climbs_again": Rule(_climbs_again, frozenset({"floor_not_reached", "finished_early", "ends_high"})),
    "peak_not_reached": Rule(_peak_not_reached, frozenset({"milestone_never_hit", "floor_not_reached"})),
    "finished_early": Rule(_finished_early, frozenset({"vanishes"})),
    "vanishes": Rule(_vanishes),
    "floor_not_reached": Rule(_floor_not_reached),
    "ends_high": Rule(_ends_high),
}
