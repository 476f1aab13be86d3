"""What schedules say: of their fields, and of runs that they do not fit."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch import Callback
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau, StepLR

from lr_recipes import Horizon, preview, schedules
from lr_recipes.schedules import Schedule, Shape, Span, from_description
from tests.callbacks.harness import PEAK, Tiny, Validated, fit, sgd
from tests.messages.doors import COSINE, RUN, Case, curve, resumed, trained


class Shapeless(Schedule):
    """A schedule of one's own that is not finished."""


class OwnShape(Schedule):
    """A schedule of one's own whose shape is what ``returned`` is."""

    returned: Any = None

    def shape(self, span: Span) -> Any:
        return self.returned


@dataclass(frozen=True, kw_only=True)
class WithField(Schedule):
    """A schedule of one's own with a field of any kind."""

    field: Any

    def shape(self, span: Span) -> Shape:
        return Shape(lambda t: 1.0, 1.0, [("held", span.warmup)])


@dataclass(frozen=True, kw_only=True)
class Described(WithField):
    """The same, with words for what is in the field."""

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "field": "a class"}


def own(returned: Any) -> Schedule:
    schedule = OwnShape(warmup=4)
    object.__setattr__(schedule, "returned", returned)
    return schedule


def one(t: int) -> float:
    return 1.0


def in_two(first: Schedule | None = None, milestone: int = 8) -> Schedule:
    return schedules.Sequence(schedules=[first or schedules.Fixed(), schedules.Linear()], milestones=[milestone])


def left(progress: float) -> float:
    return 1 - progress


def with_a_path() -> bytes:
    """A pickle that somebody has made by hand: it names code where ours holds a function."""
    schedule = schedules.Custom(function=left)
    object.__setattr__(schedule, "function", "math.cos")
    return pickle.dumps(schedule)


def halved(count: int) -> float:
    return 0.5**count


class Joins(Callback):
    """Adds a third group in mid-run."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        (optimizer,) = trainer.optimizers
        if len(optimizer.param_groups) == 2:
            optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})


def grouped_in(count: int) -> Any:
    def build(weights: Any) -> Any:
        return sgd([{"params": [one]} for one in [*weights, nn.Parameter(torch.ones(1))][:count]])

    return build


def joined(schedule: Schedule) -> None:
    fit(schedule, max_epochs=2, module=Tiny(grouped_in(2)), callbacks=[Joins()])


TORCH = schedules.TorchSchedule
ONE_CYCLE = TORCH(factory=partial(OneCycleLR, max_lr=PEAK, total_steps=16, cycle_momentum=False))
EACH, EACH_OF_3 = (TORCH(factory=partial(LambdaLR, lr_lambda=[halved] * count)) for count in (2, 3))
STEP_LR = partial(StepLR, step_size=4)
SCHEDULES: dict[str, Case] = {
    "unknown word": Case(
        lambda: schedules.Fixed(warmup_type="linaer"),
        ["warmup_type='linaer'"],
        {
            "did you mean 'linear'": lambda: schedules.Fixed(warmup_type="linear"),
            "must be one of linear, cosine, exponential, constant": lambda: [
                schedules.Fixed(warmup_type=word) for word in ("linear", "cosine", "exponential", "constant")
            ],
        },
    ),
    "text for a number": Case(
        lambda: schedules.Step(step_size=1, gamma="0.1"),
        ["gamma='0.1'", "above 0 and at most 1"],
        {"must be a number": lambda: schedules.Step(step_size=1, gamma=0.1)},
    ),
    "number out of range": Case(
        lambda: schedules.Step(step_size=1, gamma=1.5),
        ["gamma=1.5"],
        {"must be above 0 and at most 1": lambda: [schedules.Step(step_size=1, gamma=g) for g in (1e-9, 1)]},
    ),
    "flag": Case(
        lambda: schedules.OneCycle(three_phase="yes"),
        ["three_phase='yes'"],
        {"true or false": lambda: [schedules.OneCycle(three_phase=one) for one in (True, False)]},
    ),
    "exponential warmup from nothing": Case(
        lambda: schedules.Fixed(warmup=4, warmup_type="exponential", warmup_start_factor=0),
        ["warmup_start_factor=0", "above 0"],
        {"at 0.01": lambda: schedules.Fixed(warmup=4, warmup_type="exponential", warmup_start_factor=0.01)},
    ),
    "warmup longer than the run": Case(
        lambda: fit(schedules.Cosine(warmup=20), max_epochs=2),
        ["warmup=20 is 20 updates", "the run does 16"],
        {
            "Shorten the warmup": lambda: trained(schedules.Cosine(warmup=4)),
            "train longer": lambda: trained(schedules.Cosine(warmup=20), 40, max_epochs=5),
        },
    ),
    "warmup of most of the run": Case(
        lambda: fit(schedules.Cosine(warmup=12), max_epochs=2),
        ["warmup=12 is 12 updates", "the run does 16", "more than half"],
        {
            "Shorten the warmup": lambda: trained(schedules.Cosine(warmup=8)),
            "train longer": lambda: trained(schedules.Cosine(warmup=12), 24, max_epochs=3),
        },
    ),
    "schedule of one's own without a shape": Case(
        lambda: curve(Shapeless()),
        ["Shapeless must define shape(self, span)"],
        {"returns a Shape": lambda: curve(own(Shape(one, 1.0, [("all", 4)])))},
    ),
    "shape that is none": Case(
        lambda: curve(own(one)),
        ["OwnShape.shape(span) returned a function"],
        {"must return a Shape": lambda: curve(own(Shape(one, 1.0, [("all", 4)])))},
    ),
    "shape without a phase": Case(
        lambda: curve(own(Shape(one, 1.0, []))),
        ["OwnShape.shape(span) returned a Shape without a phase"],
        {"the first from update 4 on": lambda: curve(own(Shape(one, 1.0, [("all", 4)])))},
    ),
    "shape that begins late": Case(
        lambda: curve(own(Shape(one, 1.0, [("late", 6)]))),
        ["its first phase, 'late', begins at update 6"],
        {"from update 4 on": lambda: curve(own(Shape(one, 1.0, [("early", 4), ("late", 6)])))},
    ),
    "two floors": Case(
        lambda: schedules.Cosine(min_lr_ratio=0.1, min_lr=0.01),
        ["min_lr_ratio=0.1", "min_lr=0.01", "both set the floor"],
        {
            "give one": lambda: [schedules.Cosine(min_lr_ratio=0.1), schedules.Cosine(min_lr=0.01)],
            "set the other to null (None)": lambda: schedules.Cosine(min_lr_ratio=None, min_lr=0.01),
        },
    ),
    "floor without a peak": Case(
        lambda: curve(schedules.Cosine(min_lr=0.01)),
        ["min_lr=0.01 needs the peak LR"],
        {
            "resolve(horizon, peak=...)": lambda: curve(schedules.Cosine(min_lr=0.01), peak=PEAK),
            "preview(..., lr=...)": lambda: preview(schedules.Cosine(min_lr=0.01), RUN, lr=PEAK),
            "min_lr_ratio": lambda: curve(schedules.Cosine(min_lr_ratio=0.01)),
        },
    ),
    "floor above the peak": Case(
        lambda: fit(schedules.Cosine(min_lr=0.2), max_epochs=2),
        ["min_lr=0.2 is above the peak LR 0.1"],
        {
            "lower it": lambda: trained(schedules.Cosine(min_lr=0.02)),
            "raise the optimizer's lr": lambda: fit(
                schedules.Cosine(min_lr=0.2), max_epochs=2, module=Tiny(partial(sgd, lr=0.4))
            ),
        },
    ),
    "schedule of an unknown kind": Case(
        lambda: from_description({"schedule": "Elsewhere", "warmup": 0}),
        ["schedule='Elsewhere' is not known here"],
        {
            "import the module that defines it": lambda: from_description({"schedule": "OwnShape", "warmup": 0}),
            "resume='config'": lambda: resumed(COSINE, "config", edit=lambda plan: plan.update(schedule="Elsewhere")),
        },
    ),
    "schedule with an unknown knob": Case(
        lambda: from_description({"schedule": "Cosine", "knob": 0}),
        ["schedule='Cosine' cannot be built", "'knob'"],
        {"resume='config'": lambda: resumed(COSINE, "config", edit=lambda plan: plan.update(knob=0))},
    ),
    "list that is none": Case(
        lambda: schedules.MultiStep(milestones="50%"),
        ["milestones='50%'", "a list that is not empty"],
        {"as in ['50%', '75%']": lambda: schedules.MultiStep(milestones=["50%", "75%"])},
    ),
    "milestones out of order": Case(
        lambda: fit(schedules.MultiStep(milestones=[8, "25%"]), max_epochs=2),
        ["milestones=[8, '25%']", "'25%' does not come after the one before it"],
        {"sort them": lambda: trained(schedules.MultiStep(milestones=["25%", 8]))},
    ),
    "inverse square root of nothing": Case(
        lambda: schedules.InverseSqrt(),
        ["timescale=None", "warmup=0"],
        {
            "give one of them, as in '500 steps'": lambda: [
                schedules.InverseSqrt(timescale="500 steps"),
                schedules.InverseSqrt(warmup="500 steps"),
            ]
        },
    ),
    "exponential decay to nothing": Case(
        lambda: schedules.WarmupStableDecay(decay_type="exponential"),
        ["decay_type='exponential' never reaches 0"],
        {
            "min_lr_ratio=0.01": lambda: trained(
                schedules.WarmupStableDecay(decay_type="exponential", min_lr_ratio=0.01)
            )
        },
    ),
    "exponential ramp to nothing": Case(
        lambda: schedules.Ramp(end=0, shape="exponential"),
        ["shape='exponential' from 1 to 0", "never reaches 0"],
        {
            "factors above 0, as in 0.01": lambda: trained(schedules.Ramp(end=0.01, shape="exponential")),
            "take 'cosine'": lambda: trained(schedules.Ramp(end=0, shape="cosine")),
        },
    ),
    "cycles by their length and their count": Case(
        lambda: schedules.CosineRestarts(cycle=4, cycles=4),
        ["cycle=4 and cycles=4"],
        {
            "cycle='10 epochs'": lambda: schedules.CosineRestarts(cycle="10 epochs"),
            "how many fill the run, as in cycles=4": lambda: trained(schedules.CosineRestarts(cycles=4)),
            "set the other to null (None)": lambda: trained(schedules.CosineRestarts(cycle=None, cycles=4)),
        },
    ),
    "half a cycle": Case(
        lambda: schedules.Cyclic(cycles=1.5),
        ["cycles=1.5", "at least 1"],
        {"a whole number of cycles, at least 1, as in cycles=4": lambda: trained(schedules.Cyclic(cycles=4))},
    ),
    "more cycles than updates": Case(
        lambda: fit(schedules.CosineRestarts(cycles=20), max_epochs=2),
        ["cycles=20", "shorter than an update", "16 updates"],
        {
            "Take fewer": lambda: trained(schedules.CosineRestarts(cycles=16)),
            "train longer": lambda: trained(schedules.CosineRestarts(cycles=20), 24, max_epochs=3),
        },
    ),
    "points and factors": Case(
        lambda: schedules.Piecewise(milestones=[0, 8], factors=[1, 0.5, 0]),
        ["2 milestones and 3 factors"],
        {"one factor for each milestone": lambda: trained(schedules.Piecewise(milestones=[0, 8], factors=[1, 0.5]))},
    ),
    "points and interpolations": Case(
        lambda: schedules.Piecewise(milestones=[0, 8], factors=[1, 0.5], interpolation=["linear", "step"]),
        ["2 interpolations and 2 factors"],
        {
            "one fewer than factors": lambda: trained(
                schedules.Piecewise(milestones=[0, 8], factors=[1, 0.5], interpolation=["step"])
            ),
            "a single word for all": lambda: trained(
                schedules.Piecewise(milestones=[0, 8], factors=[1, 0.5], interpolation="step")
            ),
        },
    ),
    "function that is none": Case(
        lambda: schedules.Custom(function=0.5),
        ["function=0.5"],
        {
            "as lambda p: 1 - p does": lambda: trained(schedules.Custom(function=lambda p: 1 - p)),
            "in YAML its dotted path": lambda: trained(
                instantiate({"_target_": "lr_recipes.schedules.Custom", "function": f"{__name__}.left"})
            ),
        },
    ),
    "function that is not there": Case(
        lambda: schedules.Custom(function="my_module.late"),
        ["function='my_module.late' is not found", "PYTHONPATH=."],
        {"as in 'math.cos'": lambda: trained(schedules.Custom(function="math.cos"))},
    ),
    "function of no factor": Case(
        lambda: schedules.Custom(function=lambda p: 1 - 2 * p),
        ["<lambda>' gives -0.25 at the progress 0.625"],
        {"a finite number of at least 0": lambda: trained(schedules.Custom(function=lambda p: max(1 - 2 * p, 0)))},
    ),
    "function in a checkpoint": Case(
        lambda: from_description(schedules.Custom(function=left).describe()),
        ["of_schedules.left, cannot be built from a checkpoint"],
        {"give the same one in the settings": lambda: resumed(schedules.Custom(function=left), "checkpoint")},
    ),
    "function named in a pickle": Case(
        lambda: pickle.loads(with_a_path()),
        ["math.cos, cannot be built from a checkpoint"],
        {"give the same one in the settings": lambda: trained(schedules.Custom(function="math.cos"))},
    ),
    "product with a plateau": Case(
        lambda: schedules.Product(schedules=[schedules.Plateau(), schedules.Linear()]),
        ["Plateau() cannot be multiplied"],
        {
            "schedules other than Plateau": lambda: trained(
                schedules.Product(schedules=[schedules.Cosine(), schedules.Linear()])
            )
        },
    ),
    "product that moves the momentum": Case(
        lambda: fit(schedules.Product(schedules=[schedules.OneCycle(), schedules.Linear()]), max_epochs=2),
        ["OneCycle() moves the momentum too"],
        {
            "cycle_momentum=False": lambda: trained(
                schedules.Product(schedules=[schedules.OneCycle(cycle_momentum=False), schedules.Linear()])
            )
        },
    ),
    "warmup and decay that do not fit": Case(
        lambda: fit(schedules.WarmupStableDecay(warmup=8, decay=10), max_epochs=2),
        ["warmup=8 (8 updates)", "decay=10 (10)", "the 16 updates of the run"],
        {
            "shorten one of them": lambda: [
                trained(schedules.WarmupStableDecay(warmup=6, decay=10)),
                trained(schedules.WarmupStableDecay(warmup=8, decay=8)),
            ],
            "train longer": lambda: trained(schedules.WarmupStableDecay(warmup=8, decay=10), 24, max_epochs=3),
        },
    ),
    "way up of more than half": Case(
        lambda: schedules.OneCycle(pct_start=0.6, three_phase=True),
        ["pct_start=0.6 with three_phase=True"],
        {"at most 0.5": lambda: schedules.OneCycle(pct_start=0.5, three_phase=True)},
    ),
    "phase that reacts": Case(
        lambda: schedules.Sequence(schedules=[schedules.Plateau(), schedules.Linear()], milestones=["50%"]),
        ["Plateau() cannot be a phase"],
        {
            "phases are schedules other than Plateau": lambda: schedules.Sequence(
                schedules=[schedules.Fixed(), schedules.Linear()], milestones=["50%"]
            )
        },
    ),
    "milestones and phases": Case(
        lambda: schedules.Sequence(schedules=[schedules.Fixed(), schedules.Linear()], milestones=[4, 8]),
        ["2 schedules and 2 milestones"],
        {
            "one milestone fewer than schedules": lambda: schedules.Sequence(
                schedules=[schedules.Fixed(), schedules.Linear()], milestones=[4]
            )
        },
    ),
    "phase past the end": Case(
        lambda: fit(in_two(milestone=16), max_epochs=2),
        ["milestones=[16]", "would begin at update 16", "the run does 16"],
        {
            "Move the milestone forward": lambda: trained(in_two(milestone=12)),
            "train longer": lambda: trained(in_two(milestone=16), 24, max_epochs=3),
        },
    ),
    "phase that moves the momentum": Case(
        lambda: fit(in_two(schedules.OneCycle()), max_epochs=2),
        ["OneCycle() moves the momentum too"],
        {"cycle_momentum=False": lambda: trained(in_two(schedules.OneCycle(cycle_momentum=False)))},
    ),
    "torch schedule of what makes none": Case(
        lambda: TORCH(factory=4),
        ["factory=4: must make a scheduler"],
        {
            "functools.partial(StepLR, step_size=30)": lambda: trained(TORCH(factory=partial(StepLR, step_size=30))),
            "_target_, _partial_: true": lambda: trained(
                TORCH(
                    factory=instantiate(
                        {"_target_": "torch.optim.lr_scheduler.StepLR", "_partial_": True, "step_size": 4}
                    )
                )
            ),
        },
    ),
    "torch schedule without a peak": Case(
        lambda: curve(TORCH(factory=STEP_LR)),
        ["a TorchSchedule needs the peak LR"],
        {
            "resolve(horizon, peak=...)": lambda: curve(TORCH(factory=STEP_LR), peak=PEAK),
            "preview(..., lr=...)": lambda: preview(TORCH(factory=STEP_LR), RUN, lr=PEAK),
        },
    ),
    "torch schedule of somebody else's code": Case(
        lambda: from_description(TORCH(factory=partial(LambdaLR, lr_lambda=halved)).describe()),
        ["LambdaLR, cannot be built from a checkpoint"],
        {
            "give the same one in the settings": lambda: resumed(
                TORCH(factory=partial(LambdaLR, lr_lambda=halved)), "checkpoint"
            )
        },
    ),
    "torch schedule of a run without end": Case(
        lambda: curve(TORCH(factory=STEP_LR), Horizon(total_steps=10**9), peak=PEAK),
        ["StepLR would be run for 999,999,999 steps", "at most 100,000,000"],
        {
            "a schedule of lr_recipes knows it from a formula": lambda: curve(
                schedules.Step(step_size=4), Horizon(total_steps=10**9)
            )
        },
    ),
    "field that cannot be saved": Case(
        lambda: fit(WithField(field=Shapeless), max_epochs=2),
        ["WithField: what its describe() returns cannot be saved in a checkpoint", "field=<class"],
        {
            "Keep numbers, strings, lists and dicts in its fields": lambda: fit(
                WithField(field=["a", 1]), max_epochs=2
            ),
            "define describe() and from_fields(fields)": lambda: fit(Described(field=Shapeless), max_epochs=2),
        },
    ),
    "torch schedule whose call is damaged": Case(
        lambda: from_description({**TORCH(factory=STEP_LR).describe(), "factory": {"calls": 3}}),
        ["factory.calls is 3", "must be a string"],
        {
            "give the schedule in the settings": lambda: resumed(
                TORCH(factory=STEP_LR), "config", edit=lambda plan: plan.update(factory={"calls": 3})
            )
        },
    ),
    "torch schedule that cannot be made": Case(
        lambda: fit(TORCH(factory=StepLR), max_epochs=2),
        ["StepLR", "cannot make a scheduler"],
        {"missing 1 required positional argument: 'step_size'": lambda: trained(TORCH(factory=STEP_LR))},
    ),
    "torch schedule shorter than the run": Case(
        lambda: fit(TORCH(factory=partial(OneCycleLR, max_lr=PEAK, total_steps=8)), max_epochs=2),
        ["OneCycleLR stops after 8 steps", "the run goes on"],
        {"total steps is 8": lambda: trained(TORCH(factory=partial(OneCycleLR, max_lr=PEAK, total_steps=16)))},
    ),
    "torch schedule that waits for a metric": Case(
        lambda: fit(TORCH(factory=ReduceLROnPlateau), max_epochs=2),
        ["ReduceLROnPlateau waits for a metric"],
        {"use Plateau": lambda: fit(schedules.Plateau(), module=Validated(), max_epochs=2)},
    ),
    "torch schedule that raises an LR of 0": Case(
        lambda: fit(ONE_CYCLE, max_epochs=2, module=Tiny(partial(sgd, lr=0.0))),
        ["built with lr=0", "OneCycleLR sets it to 0.004 after 0 steps"],
        {"Build it with the LR that is to be the peak": lambda: trained(ONE_CYCLE)},
    ),
    "torch schedule for each group, and one joins": Case(
        lambda: joined(EACH),
        ["a curve for each of 2 parameter groups", "the optimizer now has 3"],
        {
            "all groups from the start": lambda: fit(EACH_OF_3, max_epochs=2, module=Tiny(grouped_in(3))),
            "one setting for all groups": lambda: joined(TORCH(factory=partial(LambdaLR, lr_lambda=halved))),
        },
    ),
    "field that is written": Case(
        lambda: setattr(schedules.Cosine(), "warmup", 4),
        ["'warmup' of Cosine()", "never changes"],
        {"dataclasses.replace(schedule, warmup=...)": lambda: replace(schedules.Cosine(), warmup=4)},
    ),
    "field that is deleted": Case(
        lambda: delattr(schedules.Cosine(), "warmup"),
        ["'warmup' of Cosine()", "never changes"],
        {"make another one, as with Cosine(...)": lambda: schedules.Cosine(warmup=4)},
    ),
    "torch schedule of something else": Case(
        lambda: fit(TORCH(factory=str), max_epochs=2),
        ["factory made a str"],
        {"functools.partial(torch.optim.lr_scheduler.StepLR, step_size=30)": lambda: trained(TORCH(factory=STEP_LR))},
    ),
    "plateau without a metric": Case(
        lambda: schedules.Plateau(monitor=""),
        ["monitor=''"],
        {"as in 'val_loss'": lambda: fit(schedules.Plateau(monitor="val_loss"), module=Validated(), max_epochs=2)},
    ),
    "plateau that cuts nothing": Case(
        lambda: schedules.Plateau(factor=1),
        ["factor=1", "below 1"],
        {"as in 0.1": lambda: schedules.Plateau(factor=0.1)},
    ),
    "patience in parts": Case(
        lambda: schedules.Plateau(patience=1.5),
        ["patience=1.5"],
        {"a whole number of validations": lambda: schedules.Plateau(patience=1)},
    ),
}
