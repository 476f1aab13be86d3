"""Every schedule as a class that is constructed as torch's schedulers are: the way in by dotted path.

``lr_recipes.lr_scheduler.Cosine(optimizer, total_steps=1000, warmup="5%")`` is what any framework makes of a config
that names a scheduler and its keyword arguments. The classes are made from ``schedules.__all__``, so a new schedule has
one here by itself. Each *attaches* itself: the optimizer's own updates move it, whoever calls ``step()`` and how often.

In a Lightning module's ``configure_optimizers`` the facts about the run that are left out come from the Trainer;
how they do is ``callbacks/configured.py``'s.

Example:
    >>> import torch
    >>> from lr_recipes import lr_scheduler
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    >>> optimizer.param_groups[0]["params"][0].grad = torch.ones(1)
    >>> scheduler = lr_scheduler.Linear(optimizer, total_steps=10)
    >>> for _ in range(5):
    ...     optimizer.step()
    >>> scheduler.get_last_lr()
    [0.05]
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import typing
import warnings
from collections import abc
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lr_recipes import checks, schedules
from lr_recipes.optimizer.as_built import give_back
from lr_recipes.optimizer.clock import check_kind
from lr_recipes.optimizer.follow import BoundSchedule
from lr_recipes.optimizer.groups import built_lrs
from lr_recipes.plan.horizon import EXAMPLES, Horizon, HorizonError
from lr_recipes.plan.loop import Start
from lr_recipes.plan.plan import Plan
from lr_recipes.plan.resume import POLICIES
from lr_recipes.plan.state import BOUND
from lr_recipes.schedules import Schedule

if TYPE_CHECKING:
    from lr_recipes.callbacks.configured import RunOfTrainer

# The names of Lightning's packages; its door is asked only where one of them is there already.
_LIGHTNING = ("lightning.pytorch", "pytorch_lightning")
# What each class takes beside the knobs of its schedule -> type, default, what it says.
_FACTS: dict[str, tuple[Any, Any, str]] = {
    "total_steps": (
        int | str | None,
        None,
        'optimizer updates in the whole run, or its length, such as ``"10B tokens"``; may be left out where the\n'
        "        schedule needs no total, and in a Lightning module, where it comes from the Trainer.",
    ),
    "steps_per_epoch": (
        int | abc.Sequence[int] | None,
        None,
        "updates in an epoch, for lengths in epochs; in a Lightning module the Trainer's.",
    ),
    "samples_per_step": (
        int | None,
        None,
        "samples that one update sees, for lengths in samples; in a Lightning module the Trainer's.",
    ),
    "tokens_per_sample": (
        float | None,
        None,
        "tokens in a sample, for lengths in tokens; in a Lightning module its attribute of this name, or the\n"
        "        data module's.",
    ),
    "resume": (
        str,
        "error",
        'what to do when a state is loaded that was saved with another plan: ``"error"``, follow the\n'
        '        ``"checkpoint"``, follow the ``"config"`` from there on, or ``"restart"`` at position 0.',
    ),
    "last_epoch": (
        int,
        -1,
        "torch's word for the last update that is done already: -1 for none, n to go on with update n + 1.",
    ),
}


class TorchStyle(BoundSchedule):
    """What the classes of this module share: a schedule that binds and attaches itself where it is constructed.

    Attributes:
        kind: the class of the schedule.
    """

    kind: ClassVar[type[Schedule]]

    def __init__(self, optimizer: Optimizer, **given: Any) -> None:
        check_kind(optimizer)
        facts = {name: given.pop(name, default) for name, (_, default, _) in _FACTS.items()}
        self.resume = checks.one_of("resume", facts.pop("resume"), POLICIES)
        last = checks.plain(facts.pop("last_epoch"))
        if not checks.is_whole(last, least=-1):
            raise ValueError(
                f"last_epoch={checks.brief(last)}: must be the number of the last update that is done, or -1 for none"
            )
        begin = partial(self._begin, optimizer, self.kind(**given), facts, last)
        if facts["total_steps"] is None and self._comes_before_its_trainer():
            self._later = begin
        else:
            begin()

    def _begin(self, optimizer: Optimizer, schedule: Schedule, facts: dict[str, Any], last: int) -> None:
        give_back(optimizer)
        self._run: RunOfTrainer | None = None
        self._start: Start | None = None
        self.bind_to(optimizer, self._planned_for(schedule, optimizer, facts))
        self._ticks = 0
        self.attach()
        if last >= 0:
            self.position = last + 1

    @staticmethod
    def _comes_before_its_trainer() -> bool:
        """Whether this is what LightningCLI makes of a command line: then there is no Trainer to be asked yet."""
        if not any(library in sys.modules for library in _LIGHTNING):
            return False
        from lr_recipes.callbacks.lightning import configuring, reading_a_command_line

        return configuring() is None and reading_a_command_line()

    def __getattr__(self, name: str) -> Any:
        """Begin, where that was put off, as soon as anybody asks: Lightning does when it builds the optimizers."""
        begin = None if name.startswith("__") else vars(self).pop("_later", None)
        if begin is None:
            return object.__getattribute__(self, name)  # which says that there is none
        try:
            begin()
        except Exception:
            self._later = begin
            raise
        return getattr(self, name)

    def _planned_for(self, schedule: Schedule, optimizer: Optimizer, facts: dict[str, Any]) -> Plan:
        """What the updates shall use, from the facts that are given, and in a Lightning module the Trainer's."""
        who, bases = f"lr_scheduler.{type(self).__name__}(optimizer, ...", built_lrs(optimizer)
        if any(library in sys.modules for library in _LIGHTNING):
            from lr_recipes.callbacks.configured import RunOfTrainer  # imports Lightning

            self._run = RunOfTrainer.that_is_configured(schedule, facts, f"{who}, {{}}=...)")
            if self._run is not None:
                self._start = self._run.start()
                return self._run.plan(schedule, bases, self._start)
        try:
            return schedule.plan(Horizon(**facts), bases)
        except HorizonError as error:
            if error.fact == "max_time":
                ways = "Write the length in steps ('500 steps'), or in a Lightning run take LearningRateScheduler(..., "
                raise error.advised(f"{ways}progress='time') with Trainer(max_time=...)") from None
            or_steps = "" if error.fact == "total_steps" else ", or write the length in steps ('500 steps')"
            raise error.advised(f"Give it, {who}, {error.fact}={EXAMPLES[error.fact]}){or_steps}") from None

    def step(self, epoch: Any = None) -> None:
        """Do nothing: the optimizer's own updates move the schedule. ``step(n)`` goes to position n.

        Raises:
            ValueError: ``epoch`` is no position, or a scheduler of torch steps this one as a part of its own.
        """
        if epoch is not None or not self.clock.counting:
            super().step(epoch)
        elif self._ticks < 2:
            self._look_who_ticks()

    def _look_who_ticks(self) -> None:
        """See to it, at the first ticks, that they come from a loop, and that it trains."""
        self._ticks += 1
        here: Any = inspect.currentframe()
        self._refuse_torch(here.f_back.f_back.f_globals.get("__name__"))
        # The first tick may come before the update, in loops of torch 1.0; a gradient scaler may skip more than one,
        # but there are gradients then.
        idle = not self.clock.stepped and all(p.grad is None for g in self.optimizer.param_groups for p in g["params"])
        if self._ticks == 2 and idle:
            warnings.warn(
                f"{type(self).__name__}: step() was called twice, and the optimizer has not stepped: its updates move "
                "the LR, and step() does nothing. To look at the schedule without training, "
                "lr_recipes.preview(scheduler.schedule, scheduler.horizon), or scheduler.curve(n) for one factor",
                UserWarning,
                stacklevel=3,
            )

    def adopt(self) -> None:
        """Take in groups as others do; before the first update, also what the Trainer says by now."""
        super().adopt()
        run = self._run
        # A state that was loaded has been compared with the plan already, and perhaps chosen in its place.
        if run is not None and not self.position and not self.differences and run.is_under_way():
            plan = run.plan(self.plan.schedule, self.base_lrs, self._start)  # type: ignore[arg-type] # it is ours
            if plan.horizon != self.horizon:
                self.follow(plan)
                self.refresh()

    def further(self) -> dict[str, Any]:
        return {"resume": self.resume, "_ticks": self._ticks, "_run": None, "_start": self._start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at a saved position; what to do where it was saved with another plan is said by ``resume``."""
        run = self._run
        if run is not None and not BOUND.fault(state_dict) and "start" in state_dict:
            self._begin_at(run, Start(*state_dict["start"]))
        if self.restore(state_dict, resume=self.resume) and self.resume == "restart" and run is not None:
            self._begin_at(run, run.now())
            self.refresh()

    def how_to_choose(self) -> str:
        """Return how ``resume`` is given: whoever has made the schedule may not be who loads its state."""
        here = f"lr_scheduler.{type(self).__name__}(optimizer, ..., resume='checkpoint')"
        if self._run is None:
            return here
        from lr_recipes.callbacks.telling import as_typed  # imports Lightning, as the run is of a Trainer

        return as_typed("lr_scheduler", here)

    def _begin_at(self, run: RunOfTrainer, start: Start) -> None:
        """Plan for what is left of a run after ``start``: a schedule was begun anew there."""
        self._start = start
        self.follow(run.plan(self.plan.schedule, self.base_lrs, start))  # type: ignore[arg-type] # it is ours

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), **({} if self._start is None else {"start": list(self._start)})}


class _Reacts(TorchStyle):
    """A plateau is one of torch's for whoever asks: Lightning and transformers then give ``step`` the metric."""

    def step(self, metrics: Any = None, epoch: Any = None) -> None:  # type: ignore[override] # as in torch
        """Take one fresh value of the metric, after a validation; without one, do nothing."""
        if metrics is not None:
            self.observe(float(metrics))
        elif self._ticks < 2:
            self._look_who_ticks()


# What the classes are made of


def _class_for(kind: type[Schedule]) -> type[TorchStyle]:
    bases = (_Reacts, ReduceLROnPlateau) if kind is schedules.Plateau else (TorchStyle,)
    made: Any = type(kind.__name__, bases, {"kind": kind, "__doc__": _doc_of(kind), "__module__": __name__})

    def __init__(self: TorchStyle, optimizer: Optimizer, **given: Any) -> None:
        TorchStyle.__init__(self, optimizer, **given)

    signature = _signature_of(kind)
    __init__.__signature__ = signature  # type: ignore[attr-defined]
    __init__.__annotations__ = {name: one.annotation for name, one in signature.parameters.items() if name != "self"}
    __init__.__qualname__ = f"{kind.__name__}.__init__"
    made.__init__ = checks.explains_arguments(__init__, _total_without_a_name)
    return made  # type: ignore[no-any-return]


def _total_without_a_name(who: str, args: abc.Sequence[Any], kwargs: abc.Mapping[str, Any]) -> str | None:
    if len(args) < 2:
        return None
    value = checks.brief(args[1])
    return f"{value} is given to {who} without a name: if it is the total, write {who}(optimizer, total_steps={value})"


def _knobs_of(kind: type[Schedule]) -> list[inspect.Parameter]:
    """What a schedule is given, its own before what all have, that which must be given first."""
    # What makes a scheduler of torch may be a class: said here, where torch is imported anyway.
    factory = abc.Callable[[Optimizer], LRScheduler] | abc.Callable[[Any], Any]
    types = typing.get_type_hints(kind, localns={"SchedulerFactory": factory})
    given = inspect.signature(kind).parameters
    made = {one.name: one.default_factory for one in dataclasses.fields(kind)}
    if not vars(kind)["__dataclass_params__"].init:  # then the class says what it keeps, and not what it is given
        types, made = typing.get_type_hints(kind.__init__), {}
    knobs = [
        one.replace(annotation=types[name], default=_default_as_written(one, made.get(name)))
        for name, one in given.items()
        if one.kind is one.KEYWORD_ONLY
    ]
    own = {name for base in kind.__mro__ for name in vars(base).get("__annotations__", ()) if base is kind}
    return sorted(knobs, key=lambda one: (one.default is not one.empty, one.name not in own))


def _default_as_written(one: inspect.Parameter, make: Any) -> Any:
    """The default of a field; of one that is made anew each time, such as a mapping, one that was made."""
    return one.default if make in (None, dataclasses.MISSING) else make()


def _signature_of(kind: type[Schedule]) -> inspect.Signature:
    one, only = inspect.Parameter, inspect.Parameter.KEYWORD_ONLY
    parameters = [
        one("self", one.POSITIONAL_OR_KEYWORD),
        one("optimizer", one.POSITIONAL_OR_KEYWORD, annotation=Optimizer),
    ]
    parameters += _knobs_of(kind)
    parameters += [one(name, only, default=value, annotation=hint) for name, (hint, value, _) in _FACTS.items()]
    return inspect.Signature(parameters)


def _doc_of(kind: type[Schedule]) -> str:
    """The schedule's own words: what it is, its knobs and those of every schedule, then the facts, then its source."""
    sections = _sections_of(kind)
    told = {name: text for base in kind.__mro__ for name, text in _arguments_in(_sections_of(base)["Args"]).items()}
    told["optimizer"] = (
        "the peak of each group is its LR of this moment, or the ``initial_lr`` that a scheduler has left there."
    )
    told |= {name: text for name, (_, _, text) in _FACTS.items()}
    names = ["optimizer", *(one.name for one in _knobs_of(kind)), *_FACTS]
    # Not all are told of in a docstring that is being written, and none where python -OO has left them out.
    arguments = "\n".join(f"    {name}: {told.get(name, '')}" for name in names)
    source = f"\n\nSource: {sections['Source']}" if sections["Source"] else ""
    return f"{sections['']}\n\nArgs:\n{arguments}{source}\n"


def _sections_of(kind: type) -> dict[str, str]:
    """The parts of a docstring by their headings, the words before the first one by nothing."""
    parts = re.split(r"^(Args|Source|Raises|Example): ?\n?", inspect.cleandoc(kind.__doc__ or ""), flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return {name: found.get(name, "").rstrip() for name in ("Args", "Source")} | {"": parts[0].strip()}


def _arguments_in(section: str) -> dict[str, str]:
    found = re.findall(r"^ {4}(\w+): (.*?)(?=^ {4}\w|\Z)", section, flags=re.MULTILINE | re.DOTALL)
    return {name: text.rstrip() for name, text in found}


CLASSES: dict[str, type[TorchStyle]] = {
    name: _class_for(one)
    for name in schedules.__all__
    if isinstance(one := getattr(schedules, name), type)
    and issubclass(one, Schedule)
    and one not in (Schedule, schedules.ToFloor)
}
globals().update(CLASSES)
__all__ = sorted(CLASSES)

if TYPE_CHECKING:

    def __getattr__(name: str) -> type[TorchStyle]: ...

else:

    def __getattr__(name: str) -> Any:
        raise AttributeError(
            f"lr_recipes.lr_scheduler has no class {checks.brief(name)}{checks.nearest(name, CLASSES)}; it has "
            f"{', '.join(CLASSES)}"
        )
