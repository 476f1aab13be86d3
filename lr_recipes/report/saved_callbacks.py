"""What callbacks have saved about the LR in a checkpoint: ours, with plan and position, and one of Lightning's.

To show one more: a function, and its row in ``CALLBACKS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from lr_recipes.checks import counted, one_line
from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.plan import Plan
from lr_recipes.plan.resume import ResumeError, oddity_of, read_plan
from lr_recipes.plan.state import BOUND, COUNT, PLAN_ENTRIES, TEXT, ByName, Entries
from lr_recipes.report.audit import AUDIT, Audit
from lr_recipes.report.checkpoint_file import plain_of
from lr_recipes.report.saved_scheduler import saved_scheduler
from lr_recipes.report.saved_words import Part, folded, lrs_in_words, scheduler_in_words, settings_in_words, show_saved
from lr_recipes.report.words import in_words
from lr_recipes.schedules import Fixed

_TORCH_STEPS = 10**6  # of a scheduler of torch that is run ahead, times the groups: some seconds


class Known(NamedTuple):
    """What callbacks must be told of the rest of a checkpoint.

    Attributes:
        groups: an optimizer's name -> the names of its parameter groups, where it is known which one it is.
        epoch_is_over: whether the next update is the first of an epoch.
    """

    groups: Mapping[str, Sequence[str]]
    epoch_is_over: bool


def _plans(known: Known, state: Mapping[Any, Any]) -> list[Part]:
    """What LearningRateScheduler saves: a plan for each optimizer, and where it stands."""
    fault = ByName(TEXT, BOUND).fault(state.get("optimizers"), "optimizers") if state else ""
    if fault:
        return [_damaged("LearningRateScheduler", fault)]
    return [
        plan_part(known, name, saved, "LearningRateScheduler") for name, saved in state.get("optimizers", {}).items()
    ]


def plan_part(known: Known, name: str, saved: dict[str, Any], owner: str) -> Part:
    """Return what a schedule has saved of its plan, and where it stands.

    Args:
        known: the rest of the checkpoint.
        name: of the optimizer.
        saved: the state.
        owner: who has saved it.
    """
    position, total, held = saved["position"], saved["horizon"]["total_steps"], saved["refreshed_at"]
    plan, fault = _plan_of(saved)
    fault = fault if plan is None else oddity_of(saved, plan)
    right = None if fault else plan
    # An LR that is held for an epoch is held until the next one begins.
    at = position if known.epoch_is_over else held
    timed, reached = "pace" in saved, position
    if timed:
        reached = int(saved["pace"]["progress"])
        at = reached if known.epoch_is_over else saved["pace"]["held"]
    phases = (
        [] if plan is None else [{"name": one.name, "first": one.first, "last": one.last} for one in plan.curve.phases]
    )
    facts = {
        "callback": owner,
        "optimizer": name,
        **{key: saved[key] for key in ("position", "schedule", "base_lrs", "horizon", "refreshed_at", "plateau")},
        "share": None if total is None else min(reached / total, 1.0),
        "phases": phases,
        "phase": None if right is None else right.curve.phase(reached),
        "next_lrs": saved.get("next_lrs") if right is None else _planned(right, saved, at),
        "fault": fault,
    }
    mark = Horizon(timed=timed).mark
    whole = total and (mark(total) if timed else counted(total, "update"))
    done = f"{mark(reached)} of {whole} ({100 * min(reached, total) // total}%)" if total else ""
    lines = [f"done: {done or counted(position, 'update')}{f', {position:,} updates' if timed else ''}"]
    if right is not None:
        lines[0] += f"; the next is in phase {facts['phase']}"
    if name not in known.groups and facts["next_lrs"]:  # else it stands with the optimizer
        lines.append(f"next update: LR {lrs_in_words(facts['next_lrs'])}")
    if held != position and not known.epoch_is_over:
        lines.append(f"the LR is that of update {held:,}, held until an epoch begins")
    if saved["plateau"]:
        lines.append(f"of its metric: {settings_in_words(saved['plateau'])}")
    if plan is not None and fault:
        lines.append(f"damaged: {fault}")
    first, *block = _plan_block(known, name, saved, plan, fault)
    return Part(facts, "\n".join([first, *block, *(folded("", line) for line in lines)]))


def _plan_block(known: Known, name: str, saved: dict[str, Any], plan: Plan | None, fault: str) -> list[str]:
    """The lines of a plan as a run prints it; of one that cannot be made, what is saved of it."""
    if plan is not None:
        count, named = len(plan.base_lrs), known.groups.get(name, ())
        groups = named if len(named) == count else [f"group{k}" for k in range(count)]
        return [*in_words(plan, name, groups).splitlines(), folded("", f"schedule: {plan.schedule!r}")]
    horizon, schedule = saved["horizon"], dict(saved["schedule"])
    total = counted(horizon["total_steps"], "update") if horizon["total_steps"] else "no known end"
    source = f" ({horizon['source']})" if horizon["source"] else ""
    return [
        folded("", f"Learning-rate plan for {name}: {total}{source}", indent=0),
        folded("", f"schedule: {schedule.pop('schedule')}({settings_in_words(schedule)})"),
        folded("", f"its plan cannot be shown: {fault}"),
    ]


def _planned(plan: Plan, saved: dict[str, Any], at: int) -> list[float]:
    """What the plan gives at an update, with the cuts of one that reacts."""
    scale = 1.0
    if plan.reaction is not None:
        scale = plan.reaction.scale(plan.reaction.seen(saved["plateau"]), plan.peak)
    return [lr * scale for lr in plan.lrs(at)]


def _plan_of(saved: dict[str, Any]) -> tuple[Plan | None, str]:
    """The plan that was saved, or why there is none."""
    steps = (saved["horizon"]["total_steps"] or saved["position"]) * max(len(saved["base_lrs"]), 1)
    if "'calls'" in str(saved["schedule"]) and steps > _TORCH_STEPS:
        return None, f"a scheduler of torch would be run ahead for {steps:,} steps, and {_TORCH_STEPS:,} is the most"
    try:
        return read_plan(saved, Fixed()), ""
    except ResumeError as error:
        return None, str(error).partition(": ")[0].partition(". ")[0]  # the rest is advice to who trains


def _warmups(known: Known, state: Mapping[Any, Any]) -> list[Part]:
    """What LearningRateWarmup saves: one plan, and where each optimizer stands in it."""
    from lr_recipes.optimizer.warmup import WARMED  # imports torch, as whoever has read a checkpoint did

    form = Entries({"plan": Entries(PLAN_ENTRIES), "optimizers": ByName(TEXT, WARMED)})
    fault = form.fault(state) if state else ""
    if fault:
        return [_damaged("LearningRateWarmup", fault)]
    optimizers = state.get("optimizers", {}).items()
    return [_warmup_part(name, saved, {**state["plan"], "position": saved["position"]}) for name, saved in optimizers]


def _warmup_part(name: str, saved: dict[str, Any], of: dict[str, Any]) -> Part:
    from lr_recipes.optimizer.warmup import oddity_of_warmup

    plan, fault = _plan_of(of)
    fault = fault if plan is None else oddity_of_warmup(saved, plan)
    position, total = saved["position"], None if plan is None else plan.curve.warmup
    facts = {
        "callback": "LearningRateWarmup",
        "optimizer": name,
        "position": position,
        "warmup": total,
        "share": min(position / total, 1.0) if total else None,
        "scheduler_lrs": saved.get("lrs"),
        "next_lrs": saved.get("next_lrs"),
        "fault": fault,
    }
    if total is not None and position >= total:
        where = f"over since update {total:,}"
    else:
        done = f"{position:,} of {counted(total, 'update')}" if total else counted(position, "update")
        where = f"{done} done; the LR that it multiplies is {lrs_in_words(saved.get('lrs', []))}"
    kind = of["schedule"].get("warmup_type", "")
    text = f"Learning-rate warmup for {name} ({kind}): {where}{f'; damaged: {fault}' if fault else ''}"
    return Part(facts, folded("", text, indent=0))


def _records(known: Known, state: Mapping[Any, Any]) -> list[Part]:
    """What LearningRateLogger saves: what came out so far, and where the record is."""
    form = Entries(
        {part: ByName(TEXT, one) for part, one in (("files", TEXT), ("audits", AUDIT), ("positions", COUNT))}
    )
    fault = form.fault(state) if state else ""
    if fault:
        return [_damaged("LearningRateLogger", fault)]
    parts = []
    for name, position in state.get("positions", {}).items():
        counts, file = state["audits"].get(name), state["files"].get(name)
        facts = {
            "callback": "LearningRateLogger",
            "optimizer": name,
            "position": position,
            "file": file,
            "audit": counts,
        }
        audit = Audit() if counts is None else Audit.going_on(counts)
        verdict = audit.verdict(planned=not audit.unplanned)
        text = f"Learning-rate record for {name}: {verdict}, in {file}"
        parts.append(Part(facts, folded("", text, indent=0)))
    return parts


def _range_tests(known: Known, state: Mapping[Any, Any]) -> list[Part]:
    """What LearningRateRangeTest saves: the peak that it found."""
    if state.get("peak") is None:
        return []
    before = state.get("before")  # not in 0.1.0
    text = f"LearningRateRangeTest: the peak LR is {show_saved(state['peak'])}"
    text += "" if before is None else f"; it was {show_saved(before)}"
    return [Part({**state, "callback": "LearningRateRangeTest"}, one_line(text))]


def _averaging(known: Known, state: Mapping[Any, Any]) -> list[Part]:
    """What StochasticWeightAveraging saves: its scheduler, which takes the place of the module's."""
    held = state.get("scheduler_state")
    scheduler = saved_scheduler(held) if isinstance(held, Mapping) else None
    facts = {
        "callback": "StochasticWeightAveraging",
        "averaged": plain_of(state.get("n_averaged")),
        "scheduler": None if scheduler is None else asdict(scheduler),
    }
    begins = "StochasticWeightAveraging: "
    words = f"{begins}not begun" if scheduler is None else scheduler_in_words(begins, scheduler)
    return [Part(facts, words)]


def _damaged(callback: str, fault: str) -> Part:
    text = f"The state of {callback} is damaged: {fault}"
    return Part({"callback": callback, "fault": fault}, folded("", text, indent=0))


CALLBACKS: dict[str, Callable[[Known, Mapping[Any, Any]], list[Part]]] = {
    "LearningRateScheduler": _plans,
    "LearningRateWarmup": _warmups,
    "LearningRateLogger": _records,
    "LearningRateRangeTest": _range_tests,
    "StochasticWeightAveraging": _averaging,
}
