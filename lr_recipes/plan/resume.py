"""Which plan a resumed run follows: the saved one, the configured one, or neither until somebody has chosen.

Works on the plain state that a checkpoint holds; the standard library alone. Two plans differ when they would give some
update another LR, not when the same curve is written in other words. Nothing is written here: whoever asked sets the
position and follows the plan.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lr_recipes.checks import brief, counted, one_line
from lr_recipes.plan.built import Built
from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.plan import Plan, Source
from lr_recipes.plan.state import PLAN, ResumeError, damaged, equal_lrs

__all__ = [
    "POLICIES",
    "Chosen",
    "ResumeError",
    "Undecided",
    "choose",
    "oddity_of",
    "read_plan",
    "rescaled_position",
    "saved_plan",
]

POLICIES = ("error", "checkpoint", "config", "restart")
_SAMPLES = 10**5  # runs up to this long are compared at every update
_FEW_SAMPLES = 10**3  # of runs without a known end, whose curves take longer
_SHOWN_WHOLE = 100  # letters of a string, and values in a list, that a message shows
_FAR = 10**5  # how far plans without a known end are compared
_GO_ON = "follow this run's plan from the saved position on with resume='config'"
BEGIN_ANEW = "begin a new schedule at position 0 with resume='restart'"


class Undecided(ResumeError):
    """Two plans, and nobody has chosen between them.

    Args:
        question: both plans, and the choices.
        argument: how one of them is given where the run was written; whoever was asked otherwise says it otherwise.
    """

    def __init__(self, question: str, argument: str) -> None:
        super().__init__(question, argument)  # both, so that the error survives pickling
        self.question, self.argument = question, argument

    def __str__(self) -> str:
        return f"{self.question}. For the first:\n    {self.argument}"


class Chosen(NamedTuple):
    """The plan to follow; ``differences`` says, a line each, what it was chosen between."""

    plan: Plan
    differences: list[str]


def choose(
    saved: dict[str, Any],
    configured: Plan,
    policy: str,
    origin: str = "checkpoint",
    *,
    reloads: bool = False,
    argument: str = "LearningRateScheduler(..., resume='checkpoint')",
) -> Chosen:
    """Return the plan to follow from the saved position on.

    Args:
        saved: a plan's ``state()`` as the checkpoint has it, and the ``position``.
        configured: the plan of the run that is about to start.
        policy: ``"error"``, ``"checkpoint"``, ``"config"`` or ``"restart"``; the last is for the caller to carry out.
        origin: what the run goes on from, in words: ``"checkpoint"`` or ``"earlier fit"``.
        reloads: whether epochs may have other lengths than were known when it was saved: no setting, so no difference.
        argument: how the first of the choices is given where the run was written.

    Raises:
        ResumeError: the plans differ and ``policy`` is ``"error"``; the message shows old and new side by side. Or the
            state is damaged, whatever the policy but ``"restart"``.
    """
    fault = PLAN.fault(saved)
    old = None if fault else saved_plan(saved, configured)
    odd = fault or ("" if old is None else oddity_of(saved, old))
    if odd and policy == "restart":
        return Chosen(configured, [odd])
    if fault or (odd and policy != "config"):
        raise damaged(odd, origin, BEGIN_ANEW if fault else f"{_GO_ON}; or {BEGIN_ANEW}")
    if reloads:
        epochs = configured.horizon.describe()["steps_per_epoch"]
        saved = {**saved, "horizon": {**saved["horizon"], "steps_per_epoch": epochs}}
        old = saved_plan(saved, configured)
    if odd:  # its first peak may be what is wrong: that of this run is right
        saved = {**saved, "peak": configured.peak}
    chosen = _chosen_between(saved, configured, old, policy, origin, argument)
    fault = "" if policy == "restart" else _fault_of_seen(saved, chosen.plan)
    if fault:
        raise damaged(fault, origin, BEGIN_ANEW)
    return Chosen(chosen.plan, [*chosen.differences, odd]) if odd else chosen


def _chosen_between(
    saved: dict[str, Any], configured: Plan, old: Plan | None, policy: str, origin: str, argument: str
) -> Chosen:
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
    # A schedule that is not known here may be the same or not, so it counts as another one.
    differences = [] if old is not None and _same(old, configured) else _differences(saved, configured)
    if differences and policy == "error":
        raise Undecided(_question(differences, saved["position"], origin), argument)
    if policy != "checkpoint":
        return Chosen(configured, differences)
    try:
        # Where it could not be read it is read once more: what stands in the way is then the message.
        return Chosen(old or read_plan(saved, configured.schedule), differences)
    except ResumeError as error:
        raise ResumeError(f"the {origin}'s plan cannot be made ({error}): {_GO_ON}") from error


def saved_plan(saved: dict[str, Any], configured: Plan) -> Plan | None:
    """Return the plan that a state was saved with; ``None`` where its schedule is not known here, or is another one."""
    if _equal_in_words(saved, configured):
        return configured
    with contextlib.suppress(ResumeError):
        return read_plan(saved, configured.schedule)
    return None


def oddity_of(saved: dict[str, Any], plan: Plan) -> str:
    """Return what in the state of a schedule does not follow from its own plan, in words; nothing where all does.

    A damaged number may look as good as the right one. So such a state says twice where it is: by its position and
    plan, and by the LRs that follow from them.
    """
    moves = "momentum" in plan.moves
    if saved.get("cycles_momentum", moves) != moves:
        return f"cycles_momentum is {saved['cycles_momentum']}, and its plan says {moves}"
    seen, scale = saved.get("plateau"), 1.0
    if plan.reaction is not None and seen is not None:
        fault = _fault_of_seen(saved, plan)
        if fault:
            return fault
        known = plan.reaction.seen(seen)
        if not plan.reaction.can_have_seen(known):
            return f"plateau is {brief(seen)}, and no values of a metric lead there with {plan.schedule!r}"
        scale = plan.reaction.scale(known, plan.peak)
    if "next_lrs" not in saved:  # of 0.1.0; or the plan of a warmup
        return ""
    if (seen is None) != (plan.reaction is None):
        return f"plateau is {brief(seen)}, and its plan reacts to {'a' if seen is None else 'no'} metric"
    held = saved["pace"]["held"] if "pace" in saved else saved["refreshed_at"]
    try:
        lrs = [lr * scale for lr in plan.lrs(held)]
        others = {key: plan.values(key, held) for key in plan.moves}
    except Exception as error:  # a scheduler of torch may have an end, and a schedule be of anybody's code
        return f"refreshed_at is {held}, and its plan has no such update ({error})"
    if not equal_lrs([saved["end_factor"]], [plan.end_factor], [1.0]):
        return f"end_factor is {saved['end_factor']:g}, and its plan ends at {plan.end_factor:g}"
    if not equal_lrs(saved["next_lrs"], lrs, plan.base_lrs):
        return f"next_lrs is {brief(saved['next_lrs'])}, and its plan gives {brief(lrs)} at update {held:,}"
    for key, values in others.items() if "next_others" in saved else ():  # older states have none
        there = saved["next_others"].get(key, [])
        if not _equal_where_known(there, values):
            return f"next_others, {key}, is {brief(there)}, and its plan gives {brief(values)} at update {held:,}"
    return ""


def _equal_where_known(some: Sequence[float | None], others: Sequence[float | None]) -> bool:
    """Whether values are equal, as LRs are; ``None`` stands for a group that has none."""
    if len(some) != len(others) or any((a is None) != (b is None) for a, b in zip(some, others, strict=True)):
        return False
    known = [(a, b) for a, b in zip(some, others, strict=True) if a is not None and b is not None]
    return equal_lrs([a for a, _ in known], [b for _, b in known], [b for _, b in known])


def _fault_of_seen(saved: dict[str, Any], plan: Plan) -> str:
    """What is wrong with what a plan that reacts has seen of its metric, in words."""
    seen = saved.get("plateau")
    return "" if plan.reaction is None or seen is None else plan.reaction.form.fault(seen, "plateau")


def _measured_alike(configured: Plan, saved: dict[str, Any]) -> Plan:
    """The configured plan, its absolute floor measured against the peak that the saved one began with.

    The peak is the largest base LR at the start. A group that joined later may be above it, and a resumed run finds
    that group among the others.
    """
    built = configured.state().get("built")
    same = saved["peak"] == configured.peak and saved.get("built", built) == built
    if same or saved["base_lrs"] != configured.base_lrs:
        return configured
    bases = configured.built.measured(saved["built"]["peaks"] if "built" in saved else {})
    with contextlib.suppress(ValueError):  # a peak that is below the floor is no peak
        return configured.schedule.plan(configured.horizon, bases, saved["peak"])
    return configured


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
    facts = Horizon().describe() | saved["horizon"]  # one that a version did not save was not known to it
    parts = all(saved[part] == state[part] for part in ("schedule", "base_lrs", "peak"))
    return parts and facts == state["horizon"] and saved.get("built") == state.get("built")


def read_plan(saved: dict[str, Any], own: Source) -> Plan:
    """Return the saved plan; its schedule may be ``own``, the one at hand, which cannot always be built from words.

    Raises:
        ResumeError: its schedule is not known here, or the plan cannot be made.
    """
    facts = {name: saved["horizon"].get(name, unknown) for name, unknown in Horizon().describe().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of was said when the plan was made
        try:
            schedule = own if saved["schedule"] == own.describe() else own.read(saved["schedule"])
            built = Built.read(saved["base_lrs"], saved.get("built"))
            return schedule.plan(Horizon(**facts), built, saved["peak"])
        except Exception as error:  # a schedule may be of anybody's code, and a checkpoint of anybody's making
            raise ResumeError(str(error) or repr(error)) from error


def _same(old: Plan, new: Plan) -> bool:
    """Whether every update that both plans have uses the same LR and momentum; of very long runs, a sample of them."""
    if old.base_lrs != new.base_lrs:
        return False
    # What a plan that reacts will do is not in its curve, so there the words decide.
    reacts = old.reaction is not None or new.reaction is not None
    if reacts and old.schedule.describe() != new.schedule.describe():
        return False
    shared = min(old.total_steps or _FAR, new.total_steps or _FAR)
    curves = {line.curve for line in [*old.lines, *new.lines]}
    phases = [phase.first for curve in curves for phase in curve.phases]
    samples = _SAMPLES if old.total_steps or new.total_steps else _FEW_SAMPLES
    # Both have updates 0 to `shared - 1`; what comes later is the longer plan's alone, and no difference. The first
    # update of every phase is always looked at, for that is where curves bend.
    positions = {*range(0, shared, max(shared // samples, 1)), *phases, shared - 1}
    return all(old.uses(n) == new.uses(n) for n in positions if n < shared)


def _differences(saved: dict[str, Any], configured: Plan) -> list[str]:
    """One line for each value that differs, old and new side by side."""
    state = configured.state()
    pairs = [("peak LR", saved["base_lrs"], state["base_lrs"])]
    if saved["base_lrs"] == state["base_lrs"] and "built" not in state:  # else floors have peaks of their own
        pairs.append(("the first peak", saved["peak"], state["peak"]))
    pairs += [(f"{key} as built", *values) for key, values in _built_otherwise(saved, state).items()]
    pairs += _pairs_of_schedules(saved["schedule"], state["schedule"])
    # Facts that are not known here are a later version's.
    pairs += [(key, _fact(saved["horizon"], key), _fact(state["horizon"], key)) for key in state["horizon"]]
    read = configured.schedule.read
    # The source says in words where the total came from; the total has a line of its own.
    shown = [(name, _side_by_side(old, new, read)) for name, old, new in pairs if old != new and name != "source"]
    return [one_line(f"{name}: {both}") for name, both in shown]


def _pairs_of_schedules(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Names of what two schedules say, with the old and the new value; another schedule has other knobs."""
    if old["schedule"] != new["schedule"] and (_is_made_of_others(old) or _is_made_of_others(new)):
        return [("schedule", old, new)]
    return [pair for knob in {**old, **new} for pair in _pairs_of_values(knob, old.get(knob), new.get(knob))]


def _pairs_of_values(name: str, old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """The same of two values; of schedules within, of those that are made of others each of these by itself."""
    before, now = _schedules_in(old), _schedules_in(new)
    if before is not None and now is not None:
        # What moves another number is given under the name of that number; what is for a group under ``groups``.
        own = name.rpartition(".")[2] == "others"
        places = {
            key: f"{name.removesuffix('others')}{key}" if own else f"{name}[{key!r}]" for key in {**before, **now}
        }
        return [
            pair for key, place in places.items() for pair in _pairs_of_values(place, before.get(key), now.get(key))
        ]
    if _are_both(old, new, "schedule") and _is_made_of_others(old) and old["schedule"] == new["schedule"]:
        return [(f"{name}.{place}", *both) for place, *both in _pairs_of_schedules(old, new)]
    return [(name, old, new)]


def _schedules_in(value: Any) -> dict[Any, Any] | None:
    """The schedules of a description that has several by their keys; ``None`` for any other value, or a damaged one."""
    if not isinstance(value, dict) or set(value) != {"keys", "schedules"}:
        return None
    with contextlib.suppress(TypeError, ValueError):
        return dict(zip(value["keys"], value["schedules"], strict=True))
    return None


def _are_both(old: Any, new: Any, entry: str) -> bool:
    return all(isinstance(one, dict) and entry in one for one in (old, new))


def _is_made_of_others(description: dict[str, Any]) -> bool:
    """Whether the description of a schedule has further ones within, by themselves or by name."""
    return any(isinstance(one, dict) and ("schedule" in one or "schedules" in one) for one in description.values())


def _built_otherwise(saved: dict[str, Any], state: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What else the groups were built with, old and new, where both plans move it; and their names."""
    if "built" not in saved or "built" not in state:
        return {}
    old, new = ({"names": one["built"]["names"], **one["built"]["others"]} for one in (saved, state))
    return {key: (old[key], new[key]) for key in old if key in new}


def _fact(horizon: dict[str, Any], key: str) -> Any:
    """A fact of a horizon; the total of a run that follows the clock is a time."""
    value = horizon.get(key)
    return Horizon(timed=True).mark(value) if key == "total_steps" and value and horizon.get("timed") else value


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
    if isinstance(value, list) and len(value) <= _SHOWN_WHOLE:
        return "[" + ", ".join(_show(item, read) for item in value) + "]"
    if isinstance(value, dict) and "schedule" in value:
        return _show_schedule(value, read)
    if isinstance(value, dict) and isinstance(value.get("args"), list) and isinstance(value.get("kwargs"), dict):
        return _show_call(value, read)
    if isinstance(value, str) and value.isprintable() and len(value) <= _SHOWN_WHOLE:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "none" if value is None else brief(value)


def _show_schedule(description: dict[str, Any], read: Callable[[dict[str, Any]], Any]) -> str:
    """A schedule as it shows itself; one of a kind that is not known here by its knobs."""
    with contextlib.suppress(ValueError):
        return repr(read(description))
    knobs = [f"{name}={_show(value, read)}" for name, value in description.items() if name != "schedule"]
    return f"{_show(description['schedule'], read)}({', '.join(knobs)})"


def _show_call(call: dict[str, Any], read: Callable[[dict[str, Any]], Any]) -> str:
    """A call that makes a torch scheduler."""
    given = [_show(item, read) for item in call["args"]]
    given += [f"{name}={_show(item, read)}" for name, item in call["kwargs"].items()]
    return f"{_show(call.get('calls'), read).rpartition('.')[2]}({', '.join(given)})"
