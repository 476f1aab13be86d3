"""What is said outside of Lightning: by a Trainer of transformers, and by a record of a loop of one's own."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch.optim.lr_scheduler import StepLR
from torch.utils.data import IterableDataset

from lr_recipes import Horizon, lr_scheduler, schedules
from lr_recipes.adapters.recording import Recording
from lr_recipes.schedules import Schedule
from tests.callbacks.harness import plan
from tests.messages.doors import COSINE, Case, bound, followed, one_weight

RUN = Horizon(total_steps=6, steps_per_epoch=3)
METRIC: dict[str, Any] = {"eval_strategy": "epoch"}


def scheduled(
    schedule: Any = COSINE, horizon: Any = RUN, *, trainer: Any = None, tokens: float | None = None, **args: Any
) -> None:
    """Train 6 updates, if nothing else is said; each LR must be that of the closed form."""
    from tests.adapters import trainers  # transformers takes seconds to import

    into = trainers.new_trainer(**args) if trainer is None else trainer
    done = trainers.run(trainers.scheduled(into, schedule, tokens_per_sample=tokens))
    assert done.used == trainers.planned(schedule, horizon)


def with_an_optimizer(scheduler: Any) -> None:
    """The Trainer is given an optimizer, and a scheduler or none."""
    from tests.adapters.trainers import new_trainer
    from tests.adapters.trainers import scheduled as into

    optimizer = one_weight()
    into(new_trainer(options={"optimizers": (optimizer, scheduler and scheduler(optimizer))}), COSINE)


def streamed(schedule: Schedule, horizon: Any = 6) -> None:
    from tests.adapters.trainers import DATA

    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            yield from DATA

    scheduled(schedule, horizon, data=Stream(), max_steps=6)


def recorded(*foreign: int) -> None:
    """A loop that is recorded, in which somebody else writes the LR at some updates."""
    scheduler, used = bound(COSINE), []
    with Recording(scheduler) as recording:
        for update in range(16):
            if update in foreign:
                scheduler.optimizer.param_groups[0]["lr"] = 3.0
            used.append(scheduler.optimizer.param_groups[0]["lr"])
            scheduler.optimizer.step()
            scheduler.step()
    assert used == plan(COSINE, 16)
    assert recording.close() == "used = planned on 16 of 16 updates, schedule complete"


TOKENS = schedules.Linear(warmup="1.6k tokens")
STEADY = schedules.Fixed(warmup=2)
PLATEAU = partial(schedules.Plateau, warmup=2)

ADAPTERS: dict[str, Case] = {
    "no Trainer": Case(
        lambda: scheduled(trainer=one_weight),
        ["trainer=<function one_weight", "must be a transformers.Trainer"],
        {"scheduled(Trainer(model, args, ...), schedules.Cosine(warmup='5%'))": lambda: scheduled(STEADY)},
    ),
    "no schedule for a Trainer": Case(
        lambda: scheduled(3),
        ["schedule=3", "must be one of lr_recipes.schedules"],
        {"schedules.Cosine(warmup='5%')": lambda: scheduled(schedules.Cosine(warmup="5%"))},
    ),
    "Trainer with a scheduler": Case(
        lambda: with_an_optimizer(lambda optimizer: StepLR(optimizer, 4)),
        ["two owners of one learning rate", "a StepLR in optimizers=(...)", "Cosine(warmup=4)"],
        {"give optimizers=(optimizer, None)": lambda: with_an_optimizer(None)},
    ),
    "Trainer whose arguments say another schedule": Case(
        lambda: scheduled(lr_scheduler_type="cosine", warmup_steps=2),
        ["two owners", "TrainingArguments(lr_scheduler_type='cosine', warmup_steps=2) would have no effect"],
        {
            "leave them out": lambda: scheduled(STEADY),
            "write a warmup into the schedule, as in warmup='5%'": lambda: scheduled(schedules.Linear(warmup="5%")),
        },
    ),
    "plateau without an evaluation": Case(
        lambda: scheduled(PLATEAU(monitor="loss")),
        ["waits for a metric", "eval_strategy='no'"],
        {
            "give eval_strategy='epoch'": lambda: scheduled(PLATEAU(monitor="loss"), eval_strategy="epoch"),
            "or 'steps'": lambda: scheduled(PLATEAU(monitor="loss"), eval_strategy="steps", eval_steps=2),
        },
    ),
    "metric that no evaluation has": Case(
        lambda: scheduled(PLATEAU(monitor="val_loss"), **METRIC),
        ["monitor='val_loss'", "it has epoch, eval_loss, eval_runtime"],
        {"(did you mean 'eval_loss'?)": lambda: scheduled(PLATEAU(monitor="eval_loss"), **METRIC)},
    ),
    "epochs of a Trainer whose loader has no length": Case(
        lambda: streamed(schedules.Linear(warmup="1 epoch")),
        ["warmup='1 epoch' needs steps_per_epoch", "The Trainer's loader has no length"],
        {
            "write the length in steps ('500 steps')": lambda: streamed(schedules.Linear(warmup="2 steps")),
            "as a share of the run ('5%')": lambda: streamed(schedules.Linear(warmup="5%")),
        },
    ),
    "tokens of a Trainer's data": Case(
        lambda: scheduled(TOKENS),
        ["warmup='1600 tokens' needs tokens_per_sample"],
        {
            "scheduled(trainer, schedule, tokens_per_sample=2048)": lambda: scheduled(
                TOKENS, Horizon(total_steps=6, samples_per_step=8, tokens_per_sample=100), tokens=100
            ),
            "write the length in steps ('500 steps')": lambda: scheduled(schedules.Linear(warmup="2 steps")),
            "as a share of the run ('5%')": lambda: scheduled(schedules.Linear(warmup="5%")),
        },
    ),
    "time for a Trainer": Case(
        lambda: scheduled(schedules.Linear(warmup="1 minute")),
        ["warmup='1 minute' needs a run that follows the clock"],
        {
            "Write the length in steps ('500 steps')": lambda: scheduled(schedules.Linear(warmup="2 steps")),
            "as a share of the run ('5%')": lambda: scheduled(schedules.Linear(warmup="5%")),
        },
    ),
    "time for a schedule by dotted path": Case(
        lambda: lr_scheduler.Linear(one_weight(), total_steps=10, warmup="1 minute"),
        ["warmup='1 minute' needs a run that follows the clock"],
        {
            "in steps ('500 steps')": lambda: lr_scheduler.Linear(one_weight(), total_steps=10, warmup="2 steps"),
            "LearningRateScheduler(..., progress='time') with Trainer(max_time=...)": followed,
        },
    ),
    "another LR than the recorded plan's": Case(
        lambda: recorded(3, 5),
        ["update 3 used LR 3", "the plan says 0.1"],
        {"which only the schedule should": recorded},
    ),
}
