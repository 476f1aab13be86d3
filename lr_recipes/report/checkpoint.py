"""What a checkpoint of Lightning's holds about LRs: in words, and as JSON. Nothing is trained, and no code of it run.

How the file is read is ``checkpoint_file.py``'s; what its parts say stands in the ``saved_...`` modules; here they are
put together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lr_recipes.checks import brief, counted, is_finite, one_line
from lr_recipes.plan.state import BOUND, COUNT
from lr_recipes.report.checkpoint_file import plain_of, read_lightning
from lr_recipes.report.saved_callbacks import CALLBACKS, Known, plan_part
from lr_recipes.report.saved_optimizer import SavedGroup, SavedOptimizer, saved_optimizer
from lr_recipes.report.saved_scheduler import SavedScheduler, saved_scheduler
from lr_recipes.report.saved_words import NAME_WIDTH, Part, folded, lrs_in_words, scheduler_in_words, show_saved
from lr_recipes.report.words import cut, few, with_gap

_LINE_ENDS = 1000  # characters


@dataclass(frozen=True, repr=False)
class Inspected:
    """What a checkpoint holds about LRs; ``str()`` is a text for 80 columns.

    Attributes:
        path: the file.
        lightning: the version that has written it; ``None`` where that is not saved.
        epoch: in which the run was, from 0.
        global_step: Lightning's count of the steps of all optimizers.
        optimizers: the optimizers, with what the next update of each would use.
        schedulers: those of the module, in its order.
        callbacks: those that have a part in the LR.
        notes: what else is to be said.
    """

    path: str
    lightning: str | None
    epoch: int | None
    global_step: int | None
    optimizers: list[Part]
    schedulers: list[Part]
    callbacks: list[Part]
    notes: list[str]

    def __str__(self) -> str:
        at = {"epoch": self.epoch, "global_step": self.global_step}
        where = ", ".join(f"{name} {value:,}" for name, value in at.items() if value is not None)
        by = f"Lightning {self.lightning}" if self.lightning else ""
        blocks = ["\n  ".join(filter(None, [one_line(self.path), ", ".join(filter(None, [by, where]))]))]
        for parts, what in (
            (self.optimizers, "optimizers"),
            (self.schedulers, "schedulers"),
            (self.callbacks, "callbacks"),
        ):
            blocks += with_gap([parts[k].words for k in few(len(parts))], len(parts), what)
        blocks += [folded("", f"Note: {note}", indent=0) for note in self.notes]
        return "\n".join(cut(line, _LINE_ENDS) for line in "\n\n".join(blocks).split("\n"))

    def as_json(self) -> str:
        """Return the same as one JSON object; infinity and what is not a number are strings."""
        whole = {name: getattr(self, name) for name in ("path", "lightning", "epoch", "global_step")}
        for name in ("optimizers", "schedulers", "callbacks"):
            whole[name] = [part.facts for part in getattr(self, name)]
        return json.dumps(_as_json(plain_of({**whole, "notes": self.notes})), allow_nan=False)


def inspect_checkpoint(path: str | Path) -> Inspected:
    """Return what a checkpoint holds about LRs.

    Args:
        path: a file that Lightning has written; or the folder of a sharded checkpoint.

    Raises:
        ValueError: it cannot be read, is damaged, or is something else; says what to give.
    """
    content, notes = read_lightning(path)
    found = Found(content, notes)
    version, at = content.get("pytorch-lightning_version"), {key: content.get(key) for key in ("epoch", "global_step")}
    return Inspected(
        str(path),
        one_line(version[:50]) if isinstance(version, str) else None,
        epoch=at["epoch"] if not COUNT.fault(at["epoch"]) else None,
        global_step=at["global_step"] if not COUNT.fault(at["global_step"]) else None,
        optimizers=[_optimizer_part(found, index) for index in range(len(found.optimizers))],
        schedulers=[_scheduler_part(found, one) for one in found.schedulers],
        callbacks=found.callbacks,
        notes=found.notes,
    )


def _as_json(value: Any) -> Any:
    """A plain value as JSON can have it."""
    if isinstance(value, dict):
        return {key: _as_json(one) for key, one in value.items()}
    if isinstance(value, list):
        return [*map(_as_json, value)]
    return str(value) if isinstance(value, float) and not is_finite(value) else value


class Found:
    """The parts of a checkpoint, as far as they are what they should be; of the others there is a note.

    Attributes:
        names: of each optimizer, as our callbacks name it; ``None`` where that cannot be told.
        next_lrs: by such a name, what the next update uses where a callback of ours decides on it.
    """

    def __init__(self, content: dict[Any, Any], notes: list[str]) -> None:
        self.notes = notes
        read = [saved_optimizer(one) for one in self._list(content, "optimizer_states")]
        self.optimizers = [SavedOptimizer(None, []) if one is None else one for one in read]
        odd = [index for index, one in enumerate(read) if one is None]
        self.notes += [f"optimizer_states[{index}] is no state of an optimizer" for index in odd]
        if "optimizer_states" not in content:
            self.notes.append("there is no optimizer in it: it was saved with weights only, or in shards")
        states = self._list(content, "lr_schedulers")
        bound = [one for one in states if isinstance(one, dict) and not BOUND.fault(one)]
        self.schedulers = [saved_scheduler(one) for one in states if isinstance(one, Mapping) and one not in bound]
        callbacks = content.get("callbacks", {})
        saved = callbacks if isinstance(callbacks, Mapping) else {}
        # Lightning's key of a state is the name of the class, and perhaps what tells several of a class apart.
        ours = [(str(key).partition("{")[0], state) for key, state in saved.items() if isinstance(state, Mapping)]
        self.names = self._names(dict(ours))
        groups = {
            name: [group.name for group in one.groups] for name, one in zip(self.names, self.optimizers, strict=True)
        }
        known = Known({name: of for name, of in groups.items() if name}, _is_last_batch(content))
        self.callbacks = [part for name, state in ours if name in CALLBACKS for part in CALLBACKS[name](known, state)]
        self.callbacks += [plan_part(known, self._name_for(one["base_lrs"]), one, "lr_scheduler") for one in bound]
        facts = [part.facts for part in self.callbacks]
        self.next_lrs = {one["optimizer"]: one["next_lrs"] for one in facts if one.get("next_lrs") is not None}

    def _list(self, content: dict[Any, Any], key: str) -> list[Any]:
        value = content.get(key, [])
        if isinstance(value, list):
            return value
        self.notes.append(f"{key} is {brief(value)}, and must be a list")
        return []

    def _name_for(self, base_lrs: list[float]) -> str:
        """The optimizer that a schedule of ours is of, where only one has its LRs: that is not saved."""
        fitting = [
            name
            for name, one in zip(self.names, self.optimizers, strict=True)
            if len(self.names) == 1 or [group.base_lr for group in one.groups] == base_lrs
        ]
        return (fitting[0] if len(fitting) == 1 else None) or "an optimizer"

    def _names(self, callbacks: Mapping[str, Mapping[Any, Any]]) -> list[str | None]:
        for callback, part in (("LearningRateLogger", "positions"), ("LearningRateWarmup", "optimizers")):
            named = callbacks.get(callback, {}).get(part)  # of all optimizers, in their order
            if isinstance(named, Mapping) and len(named) == len(self.optimizers):
                return [*map(str, named)]
        named = callbacks.get("LearningRateScheduler", {}).get("optimizers")  # of those that it has a schedule for
        if isinstance(named, Mapping) and len(named) == len(self.optimizers) == 1:
            return [*map(str, named)]
        kinds = [one.kind for one in self.optimizers]
        earlier = [kinds[:index].count(kind) for index, kind in enumerate(kinds)]
        return [f"{kind}-{count}" if kind and count else kind for kind, count in zip(kinds, earlier, strict=True)]


def _is_last_batch(content: dict[Any, Any]) -> bool:
    value: Any = content
    for key in ("loops", "fit_loop", "epoch_loop.batch_progress", "is_last_batch"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value is True


# Optimizers and schedulers


def _optimizer_part(found: Found, index: int) -> Part:
    optimizer, name = found.optimizers[index], found.names[index]
    ours = found.next_lrs.get(name or "")
    lrs = [group.lr for group in optimizer.groups] if ours is None else ours
    facts = {"name": name, **asdict(optimizer), "next_lrs": lrs}
    title = f"Optimizer {index}{f', {one_line(name)}' if name else ''}"
    lines = [f"{title}: {counted(len(optimizer.groups), 'parameter group')}"]
    shown = [optimizer.groups[k] for k in few(len(optimizer.groups))]
    wide = max([len(cut(group.name, NAME_WIDTH)) for group in shown], default=0)
    groups = [folded(f"{cut(group.name, NAME_WIDTH):<{wide}}", _group_in_words(group)) for group in shown]
    lines += [
        line if line.startswith(" ") else f"  {line}" for line in with_gap(groups, len(optimizer.groups), "groups")
    ]
    why = "what the groups hold" if ours is None else "by the plan below"
    return Part(facts, "\n".join([*lines, folded("", f"next update: LR {lrs_in_words(lrs)}, {why}")] if lrs else lines))


def _group_in_words(group: SavedGroup) -> str:
    lrs = {"base": group.base_lr, "max": group.max_lr}
    known = [f"LR {show_saved(group.lr)}", *(f"{name} {show_saved(lr)}" for name, lr in lrs.items() if lr is not None)]
    known += [f"{name.replace('_', ' ')} {show_saved(value)}" for name, value in group.hyper.items()]
    size = counted(group.tensors, "tensor") if group.numbers is None else counted(group.numbers, "parameter")
    return ", ".join([*known, size])


def _scheduler_part(found: Found, scheduler: SavedScheduler) -> Part:
    of = _optimizer_of(found, scheduler)
    whose = "" if of is None or len(found.optimizers) == 1 else f" of optimizer {of}"
    facts = {**asdict(scheduler), "optimizer": of}
    return Part(facts, scheduler_in_words(f"Scheduler{whose}: ", scheduler))


def _optimizer_of(found: Found, scheduler: SavedScheduler) -> int | None:
    """Which optimizer a scheduler belongs to, where only one has its LRs: that is not saved."""
    if len(found.optimizers) == 1:
        return 0
    parts = [scheduler, *scheduler.parts]
    base = next((part.base_lrs for part in parts if part.base_lrs is not None), None)
    last = scheduler.last_lrs
    fitting = [
        index
        for index, one in enumerate(found.optimizers)
        if (base if base is not None else last) == [group.lr if base is None else group.base_lr for group in one.groups]
    ]
    return fitting[0] if len(fitting) == 1 else None
