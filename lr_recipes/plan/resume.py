"""Which plan a resumed run follows: the saved one, the configured one, or neither until somebody has chosen.

Works on the plain state that a checkpoint holds; the standard library alone. Two plans differ when they would give some
update another LR, not when the same curve is written in other words. Nothing is written here: whoever asked sets the
position and follows the plan.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

from lr_recipes.checks import counted, one_line
from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.plan import Plan, Source

POLICIES = ("error", "checkpoint", "config", "restart")
_SAMPLES = 10**5  # runs up to this long are compared at every update
_FEW_SAMPLES = 10**3  # of runs without a known end, whose curves take longer
_FAR = 10**5  # how far plans without a known end are compared


class ResumeError(ValueError):
    """The checkpoint's plan and the configured one differ, and nobody has chosen between them."""


class Chosen(NamedTuple):
    """The plan to follow; ``differences`` says, a line each, what it was chosen between."""

    plan: Plan
    differences: list[str]


def choose(saved: dict[str, Any], configured: Plan, policy: str, origin: str = "checkpoint") -> Chosen:
    """Return the plan to follow from the saved position on.

    Args:
        saved: a plan's ``state()`` as the checkpoint has it, and the ``position``.
        configured: the plan of the run that is about to start.
        policy: ``"error"``, ``"checkpoint"``, ``"config"`` or ``"restart"``; the last is for the caller to carry out.
        origin: what the run goes on from, in words: ``"checkpoint"`` or ``"earlier fit"``.

    Raises:
        ResumeError: the plans differ and ``policy`` is ``"error"``; the message shows old and new side by side.
    """
    if len(saved["base_lrs"]) != len(configured.base_lrs):
        had, has = len(saved["base_lrs"]), len(configured.base_lrs)
        if policy == "restart":
            return Chosen(configured, [f"parameter groups: {had} -> {has}"])
        raise ResumeError(
            f"the {origin} has {counted(had, 'parameter group')} and this run has {has}: resume with the optimizer "
            f"that the {origin} was made with; or begin a new schedule at position 0 with resume='restart'"
        )
    configured = _measured_alike(configured, saved)
    # Words first: nearly every resumed run says the same as before, and two curves need not be walked to see it.
    if _equal_in_words(saved, configured):
        return Chosen(configured, [])
    old = _readable(saved, configured.schedule)
    # A schedule that is not known here may be the same or not, so it counts as another one.
    differences = [] if old is not None and _same(old, configured) else _differences(saved, configured)
    if differences and policy == "error":
        raise ResumeError(_question(differences, saved["position"], origin))
    if policy != "checkpoint":
        return Chosen(configured, differences)
    # Where it could not be read it is read once more: what stands in the way is then the message.
    return Chosen(old or _read(saved, configured.schedule), differences)


def _measured_alike(configured: Plan, saved: dict[str, Any]) -> Plan:
    """The configured plan, its absolute floor measured against the peak that the saved one began with.

    The peak is the largest base LR at the start. A group that joined later may be above it, and a resumed run finds
    that group among the others.
    """
    if saved["peak"] == configured.peak or saved["base_lrs"] != configured.base_lrs:
        return configured
    return configured.schedule.plan(configured.horizon, configured.base_lrs, saved["peak"])


def rescaled_position(saved: dict[str, Any], horizon: Horizon) -> int:
    """Return the position at the same share of the data, where an update now sees another number of samples.

    Example:
        >>> saved = {"position": 100, "horizon": {"samples_per_step": 32}}
        >>> rescaled_position(saved, Horizon(samples_per_step=64))
        50
    """
    position: int = saved["position"]
    before, now = saved["horizon"]["samples_per_step"], horizon.samples_per_step
    if before is None or now is None or before == now:
        return position
    # 100 updates of 32 samples have seen as many as 50 of 64: the next one is update 50.
    return int(position * before / now + 0.5)


def _equal_in_words(saved: dict[str, Any], configured: Plan) -> bool:
    state = configured.state()
    return all(saved[part] == state[part] for part in ("schedule", "base_lrs", "peak", "horizon"))


def _readable(saved: dict[str, Any], own: Source) -> Plan | None:
    """The saved plan; ``None`` where its schedule is of a kind that is not known here, or is another one by now."""
    try:
        return _read(saved, own)
    except ValueError:
        return None


def _read(saved: dict[str, Any], own: Source) -> Plan:
    """The saved plan; its schedule may be the one at hand, which cannot always be built from words."""
    schedule = own if saved["schedule"] == own.describe() else own.read(saved["schedule"])
    return schedule.plan(Horizon(**saved["horizon"]), saved["base_lrs"], saved["peak"])


def _same(old: Plan, new: Plan) -> bool:
    """Whether every update that both plans have uses the same LR and momentum; of very long runs, a sample of them."""
    if old.base_lrs != new.base_lrs:
        return False
    # What a plan that reacts will do is not in its curve, so there the words decide.
    reacts = old.reaction is not None or new.reaction is not None
    if reacts and old.schedule.describe() != new.schedule.describe():
        return False
    shared = min(old.total_steps or _FAR, new.total_steps or _FAR)
    phases = [phase.first for phase in [*old.curve.phases, *new.curve.phases]]
    samples = _SAMPLES if old.total_steps or new.total_steps else _FEW_SAMPLES
    # Both have updates 0 to `shared - 1`; what comes later is the longer plan's alone, and no difference. The first
    # update of every phase is always looked at, for that is where curves bend.
    positions = {*range(0, shared, max(shared // samples, 1)), *phases, shared - 1}
    return all(old.uses(n) == new.uses(n) for n in positions if n < shared)


def _differences(saved: dict[str, Any], configured: Plan) -> list[str]:
    """One line for each value that differs, old and new side by side."""
    state = configured.state()
    pairs = [("peak LR", saved["base_lrs"], state["base_lrs"])]
    for part in ("schedule", "horizon"):
        for key in {**saved[part], **state[part]}:
            pairs.append((key, saved[part].get(key), state[part].get(key)))
    read = configured.schedule.read
    # The source says in words where the total came from; the total has a line of its own.
    shown = [(name, _side_by_side(old, new, read)) for name, old, new in pairs if old != new and name != "source"]
    return [one_line(f"{name}: {both}") for name, both in shown]


def _side_by_side(old: Any, new: Any, read: Callable[[dict[str, Any]], Any]) -> str:
    """Old and new; of two long lists, as of the LRs of very many groups, the first entry that differs."""
    lists = isinstance(old, list) and isinstance(new, list)
    if not lists or len(old) != len(new) or len(old) <= 20:
        return f"{_show(old, read)} -> {_show(new, read)}"
    differing = [k for k, (one, other) in enumerate(zip(old, new, strict=True)) if one != other]
    first, count = differing[0], f"{len(differing):,} of {len(old):,} differ"
    return f"{_show(old[first], read)} -> {_show(new[first], read)} in entry {first:,}; {count}"


def _question(differences: list[str], position: int, origin: str) -> str:
    lines = "\n".join(f"    {line}" for line in differences)
    return (
        f"the {origin} (at update {position:,}) and this run plan different learning rates "
        f"({origin} -> this run):\n"
        f"{lines}\n"
        f"Choose one: resume='checkpoint' follows the {origin}'s plan to its end; resume='config' follows this "
        f"run's plan from update {position:,} on, whatever jump that makes; resume='restart' begins a new schedule at "
        f"position 0, over what is left of the run; or make this run's settings equal to the {origin}'s"
    )


def _show(value: Any, read: Callable[[dict[str, Any]], Any]) -> str:
    """A value as somebody would write it; a schedule within it is built by ``read``, to be shown as it shows itself."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return "[" + ", ".join(_show(item, read) for item in value) + "]"
    if isinstance(value, dict) and "schedule" in value:
        return _show_schedule(value, read)
    if isinstance(value, dict):
        return _show_call(value, read) if "calls" in value else str(value)
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _show_schedule(description: dict[str, Any], read: Callable[[dict[str, Any]], Any]) -> str:
    """A schedule as it shows itself; one of a kind that is not known here by its knobs."""
    with contextlib.suppress(ValueError):
        return repr(read(description))
    knobs = [f"{name}={_show(value, read)}" for name, value in description.items() if name != "schedule"]
    return f"{description['schedule']}({', '.join(knobs)})"


def _show_call(call: dict[str, Any], read: Callable[[dict[str, Any]], Any]) -> str:
    """A call that makes a torch scheduler."""
    given = [_show(item, read) for item in call["args"]]
    given += [f"{name}={_show(item, read)}" for name, item in call["kwargs"].items()]
    return f"{call['calls'].rpartition('.')[2]}({', '.join(given)})"
