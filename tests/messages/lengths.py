"""Lengths, the facts about a run, and the limits of a Trainer that `task=preview` reads."""

from __future__ import annotations

from functools import partial

from torch.optim.lr_scheduler import StepLR

from lr_recipes import Horizon, schedules
from lr_recipes.plan.loop import ends_of, limit_of, limited
from tests.messages.doors import Case, curve, followed, one_weight, trained

LENGTHS = {
    "'500 steps'": lambda: curve(schedules.Fixed(warmup="5 steps")),
    "'5 epochs'": lambda: curve(schedules.Fixed(warmup="1 epochs")),
    "'10%'": lambda: curve(schedules.Fixed(warmup="10%")),
    "'100k samples'": lambda: curve(schedules.Fixed(warmup="0.004k samples")),
    "'500M tokens'": lambda: curve(schedules.Fixed(warmup="0.2k tokens")),
    "a whole number of steps": lambda: curve(schedules.Fixed(warmup=5)),
}
HORIZONS: dict[str, Case] = {
    "length below zero": Case(
        lambda: schedules.Fixed(warmup="-5 epochs"), ["warmup='-5 epochs'", "zero or more and finite"], LENGTHS
    ),
    "length of nothing": Case(lambda: schedules.Step(step_size=0), ["step_size=0", "positive and finite"], LENGTHS),
    "more than the whole": Case(
        lambda: schedules.Fixed(warmup="120%"),
        ["warmup='120%'", "more than the whole run"],
        {"at most '100%'": lambda: schedules.Fixed(warmup="100%")},
    ),
    "count of no run": Case(
        lambda: Horizon(total_steps=10**400),
        ["total_steps=1000", "(401 characters)", "longer than any run"],
        {"at most 1,000,000,000,000,000": lambda: Horizon(total_steps=1_000_000_000_000_000)},
    ),
    "length of a wrong kind": Case(lambda: schedules.Fixed(warmup=True), ["warmup=True", "not a duration"], LENGTHS),
    "bare float": Case(
        lambda: schedules.Fixed(warmup=0.1),
        ["warmup=0.1: 0.1 of what?"],
        {"Write '10%'": lambda: curve(schedules.Fixed(warmup="10%")), **LENGTHS},
    ),
    "bare float as text": Case(
        lambda: schedules.Fixed(warmup="3.5"),
        ["warmup='3.5': 3.5 of what?"],
        {"Write '3.5 epochs'": lambda: trained(schedules.Fixed(warmup="0.5 epochs")), **LENGTHS},
    ),
    "length that cannot be read": Case(
        lambda: schedules.Fixed(warmup="ten steps"), ["warmup='ten steps' cannot be read"], LENGTHS
    ),
    "unknown unit": Case(
        lambda: schedules.Fixed(warmup="5 epohcs"),
        ["warmup='5 epohcs'", "unknown unit 'epohcs'"],
        {
            "did you mean 'epoch": lambda: curve(schedules.Fixed(warmup="1 epochs")),
            "units are steps, epochs, %, samples, tokens": lambda: [
                curve(schedules.Fixed(warmup=f"5 {unit}")) for unit in ("steps", "%", "samples", "tokens")
            ],
            "seconds, minutes, hours, days": lambda: [
                curve(schedules.Fixed(warmup=f"1 {unit}"), Horizon(max_time="9 days"))
                for unit in ("seconds", "minutes", "hours", "days")
            ],
        },
    ),
    "fact that is none": Case(
        lambda: Horizon(total_steps=0),
        ["total_steps=0"],
        {"at least 1": lambda: Horizon(total_steps=1), "or None": lambda: Horizon(total_steps=None)},
    ),
    "total of a Horizon": Case(
        lambda: curve(schedules.Cosine(), Horizon()),
        ["Cosine needs to know how many updates", "no known end"],
        {"Horizon(total_steps=1000)": lambda: curve(schedules.Cosine(), Horizon(total_steps=1000))},
    ),
    "epochs of a Horizon": Case(
        lambda: curve(schedules.Fixed(warmup="5 epochs"), Horizon(total_steps=1000)),
        ["warmup='5 epochs' needs steps_per_epoch"],
        {
            "Horizon(steps_per_epoch=100)": lambda: curve(
                schedules.Fixed(warmup="5 epochs"), Horizon(total_steps=1000, steps_per_epoch=100)
            ),
            "in steps ('500 steps')": lambda: curve(schedules.Fixed(warmup="500 steps"), Horizon(total_steps=1000)),
        },
    ),
    "samples of a Horizon": Case(
        lambda: curve(schedules.Fixed(warmup="1k samples"), Horizon(total_steps=1000)),
        ["warmup='1000 samples' needs samples_per_step"],
        {
            "Horizon(samples_per_step=256)": lambda: curve(
                schedules.Fixed(warmup="1k samples"), Horizon(total_steps=1000, samples_per_step=256)
            ),
            "in steps ('500 steps')": lambda: curve(schedules.Fixed(warmup="500 steps"), Horizon(total_steps=1000)),
        },
    ),
    "tokens of a Horizon": Case(
        lambda: curve(schedules.Fixed(warmup="500k tokens"), Horizon(total_steps=1000, samples_per_step=256)),
        ["warmup='500000 tokens' needs tokens_per_sample"],
        {
            "Horizon(tokens_per_sample=2048)": lambda: curve(
                schedules.Fixed(warmup="500k tokens"),
                Horizon(total_steps=1000, samples_per_step=256, tokens_per_sample=2048),
            ),
            "in steps ('500 steps')": lambda: curve(schedules.Fixed(warmup="500 steps"), Horizon(total_steps=1000)),
        },
    ),
    "total that is a share": Case(
        lambda: Horizon(total_steps="10%"),
        ["total_steps='10%': percent of what?"],
        {
            "total_steps=1000": lambda: Horizon(total_steps=1000),
            "total_steps='90 epochs'": lambda: Horizon(total_steps="90 epochs", steps_per_epoch=10),
        },
    ),
    "time of a Horizon": Case(
        lambda: curve(schedules.Fixed(warmup="30 minutes")),
        ["warmup='30 minutes' needs a run that follows the clock", "this run counts updates"],
        {
            "Horizon(max_time='8h')": lambda: curve(schedules.Fixed(warmup="30 minutes"), Horizon(max_time="8h")),
            "in steps ('500 steps')": lambda: curve(schedules.Fixed(warmup="5 steps")),
        },
    ),
    "updates in a run that follows the clock": Case(
        lambda: curve(schedules.Fixed(warmup="500 steps"), Horizon(max_time="8h")),
        ["warmup='500 steps' counts steps", "follows the clock"],
        {
            "'30 minutes'": lambda: curve(schedules.Fixed(warmup="30 minutes"), Horizon(max_time="8h")),
            "'5%'": lambda: curve(schedules.Fixed(warmup="5%"), Horizon(max_time="8h")),
        },
    ),
    "time that is no time": Case(
        lambda: Horizon(max_time="500 steps"),
        ["max_time='500 steps'", "must be a time"],
        {"max_time='8h'": lambda: Horizon(max_time="8h"), "'90 minutes'": lambda: Horizon(max_time="90 minutes")},
    ),
    "time beside a total": Case(
        lambda: Horizon(max_time="8h", total_steps=100),
        ["max_time='8h' beside total_steps=100"],
        {"leave one of them out": lambda: (Horizon(max_time="8h"), Horizon(total_steps=100))},
    ),
    "time as a total": Case(
        lambda: Horizon(total_steps="8h"),
        ["total_steps='8h' is a time"],
        {"give max_time='8h' instead": lambda: Horizon(max_time="8h")},
    ),
    "loop that follows the clock": Case(
        lambda: schedules.Linear().bind(one_weight(), Horizon(max_time="8h")),
        ["follows the clock", "loop of one's own"],
        {
            "Horizon(total_steps=1000)": lambda: schedules.Linear().bind(one_weight(), Horizon(total_steps=1000)),
            "LearningRateScheduler(..., progress='time')": followed,
        },
    ),
    "scheduler of torch that follows the clock": Case(
        lambda: curve(schedules.TorchSchedule(factory=partial(StepLR, step_size=3)), Horizon(max_time="8h"), peak=0.1),
        ["StepLR", "follows the clock"],
        {
            "schedules.Cosine()": lambda: curve(schedules.Cosine(), Horizon(max_time="8h")),
            "let the run count updates": lambda: curve(
                schedules.TorchSchedule(factory=partial(StepLR, step_size=3)), peak=0.1
            ),
        },
    ),
    "position below zero": Case(
        lambda: curve(schedules.Cosine())(-1),
        ["position=-1", "counted from 0"],
        {"at least 0": lambda: curve(schedules.Cosine())(0)},
    ),
    # What a Trainer is told, read without one: `task=preview`
    "limit of a Trainer": Case(
        lambda: ends_of(max_epochs=-3, max_steps=-1),
        ["max_epochs=-3"],
        {"a whole number": lambda: ends_of(3, -1), "-1 for no limit": lambda: ends_of(-1, 8)},
    ),
    "batches of an epoch": Case(
        lambda: limit_of(2.5),
        ["limit_train_batches=2.5"],
        {"a whole number of batches": lambda: limit_of(2), "a share of them from 0.0 to 1.0": lambda: limit_of(0.25)},
    ),
    "fast_dev_run": Case(
        lambda: limit_of(None, fast_dev_run=-1),
        ["fast_dev_run=-1"],
        {
            "true, false": lambda: [limit_of(None, fast_dev_run=flag) for flag in (True, False)],
            "a number of batches": lambda: limit_of(None, fast_dev_run=2),
        },
    ),
    "share of an unknown length": Case(
        lambda: limited(None, 0.5),
        ["limit_train_batches=0.5 is a share", "no length"],
        {"a whole number": lambda: limited(None, 5)},
    ),
    "share of less than a batch": Case(
        lambda: limited(8, 0.1),
        ["limit_train_batches=0.1 of 8 batches is less than one"],
        {"a larger share": lambda: limited(8, 0.2), "a whole number of batches": lambda: limited(8, 1)},
    ),
}
