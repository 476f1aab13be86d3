"""Random set-ups, each judged by plain Lightning: `python -m tests.foretold.random_setups --cases 1000 --first 0`.

A set-up is drawn from its seed: schedulers with valid arguments, nested ones too, a rhythm for each, a loop, a
place where the run is stopped and goes on. It is trained three times: plainly, after a forecast, and with a
LearningRateLogger in it.
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import random
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from lightning.fabric.utilities import rank_zero
from lightning.pytorch.callbacks import (
    Callback,
    GradientAccumulationScheduler,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from torch.optim import SGD, Adam, AdamW
from torch.optim import lr_scheduler as torchs

import lr_recipes
from benchmarks.heard import heard
from tests.foretold import modules
from tests.foretold.oracle import Measured, Toy, loader, measured
from tests.foretold.setups import Setup

OF_LENGTH = {"climbs_again", "floor_not_reached", "peak_not_reached", "finished_early", "ends_high", "vanishes"}
SECONDS, RUNS = 5.0, 10  # a forecast may take so long, or as long as so many runs on a slow machine
HUGGING = ("constant", "cosine", "inverse_sqrt", "linear", "polynomial", "restarts", "wsd")


class Recipe(NamedTuple):
    """A scheduler to be built: in words, and how; ``facts`` are what a judge may use."""

    words: str
    build: Callable[[Any, Any], Any]
    facts: Mapping[str, Any] = MappingProxyType({})


class Interrupts(Callback):
    """Ends the first part of a run by an error, after so many batches."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def on_train_batch_end(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("interrupted")


class Counts:
    """A factor with a memory: it falls with each question, whatever is asked."""

    def __init__(self, gamma: float) -> None:
        self.asked, self.gamma = 0, gamma

    def __call__(self, n: int) -> float:
        self.asked += 1
        return self.gamma**self.asked


# Schedulers. ``around`` are counts that lengths are drawn near: updates, epochs, batches.


def length(rng: random.Random, around: Sequence[int]) -> int:
    base = rng.choice(around)
    return max(1, rng.choice([base, base, base + 1, base - 1, base // 2, base * 2, rng.randint(1, 40)]))


def single(rng: random.Random, around: Sequence[int]) -> Recipe:
    n, m, p = length(rng, around), length(rng, around), rng.choice([0.1, 0.5, 0.9, 0.99])
    low = rng.choice([0, 0, 1e-6, 1e-3])
    stones = sorted(rng.choice([length(rng, around), length(rng, around) / 4]) for _ in range(rng.randint(1, 3)))
    start = rng.choice([0.0, 0.01, 0.3, 1.0])
    two = (n, n + m)
    made: list[Recipe] = [
        Recipe(
            f"CosineAnnealingLR({n}, {low})", lambda o, _: torchs.CosineAnnealingLR(o, n, low), {"T_max": n, "low": low}
        ),
        Recipe(f"StepLR({n}, {p})", lambda o, _: torchs.StepLR(o, n, p)),
        Recipe(f"MultiStepLR({stones}, {p})", lambda o, _: torchs.MultiStepLR(o, stones, p), {"stones": stones}),
        Recipe(f"ConstantLR({p}, {n})", lambda o, _: torchs.ConstantLR(o, p, n)),
        Recipe(f"LinearLR({p}, 1, {n})", lambda o, _: torchs.LinearLR(o, p, 1.0, n)),
        Recipe(f"LinearLR(1, {low}, {n})", lambda o, _: torchs.LinearLR(o, 1.0, low, n)),
        Recipe(f"ExponentialLR({p})", lambda o, _: torchs.ExponentialLR(o, p)),
        Recipe(f"PolynomialLR({n}, {p})", lambda o, _: torchs.PolynomialLR(o, n, p)),
        Recipe(
            f"CosineAnnealingWarmRestarts({n}, {1 + m % 2}, {low})",
            lambda o, _: torchs.CosineAnnealingWarmRestarts(o, n, 1 + m % 2, low),
        ),
        Recipe(
            f"CyclicLR(1e-3, 0.1, {n}, {m})",
            lambda o, _: torchs.CyclicLR(
                o,
                1e-3,
                0.1,
                n,
                m,
                mode=("triangular", "triangular2", "exp_range")[n % 3],
                gamma=0.99,
                cycle_momentum=False,
            ),
        ),
        Recipe(
            f"OneCycleLR(0.1, {n + 1}, {p}, three_phase={m % 2 == 0})",
            lambda o, _: torchs.OneCycleLR(
                o,
                0.1,
                n + 1,
                pct_start=min(p, 0.9),
                three_phase=m % 2 == 0,
                anneal_strategy=("cos", "linear")[n % 2],
                cycle_momentum=False,
            ),
        ),
        Recipe(f"MultiplicativeLR({p})", lambda o, _: torchs.MultiplicativeLR(o, lambda k: p if k % 2 else 1.0)),
        Recipe(f"LambdaLR(1 - k / {n})", lambda o, _: torchs.LambdaLR(o, lambda k: 1 - k / n)),
        Recipe(f"LambdaLR(max(0, 1 - k / {n}))", lambda o, _: torchs.LambdaLR(o, lambda k: max(0.0, 1 - k / n))),
        Recipe(f"LambdaLR(warmup {n} from 0)", lambda o, _: torchs.LambdaLR(o, lambda k: min(k / n, 1))),
        Recipe(
            f"LambdaLR(noam {n})",
            lambda o, _: torchs.LambdaLR(o, lambda k: min((k + 1) ** -0.5, (k + 1) * n**-1.5)),
        ),
        Recipe("LambdaLR(epoch)", lambda o, m: torchs.LambdaLR(o, lambda k: p**m.current_epoch)),
        Recipe("LambdaLR(global_step)", lambda o, m: torchs.LambdaLR(o, lambda k: 1 / (1 + m.trainer.global_step))),
        Recipe(
            "LambdaLR(is_last_batch)",
            lambda o, m: torchs.LambdaLR(o, lambda k: 0.5 if m.trainer.is_last_batch else 1.0),
        ),
        Recipe(f"LambdaLR(Counts({p}))", lambda o, _: torchs.LambdaLR(o, Counts(p))),
        Recipe(
            "LambdaLR(1 / (k % 7))",
            lambda o, _: torchs.LambdaLR(o, lambda k: 1 / ((k + n) % 7) if k > 3 else 1.0),
        ),
        Recipe(
            f"WarmupCosine({two}, {start})",
            lambda o, _: modules.WarmupCosine(o, n, n + m, start=start * 0.1, floor=low),
        ),
        Recipe(f"Chained({n}, {p})", lambda o, _: modules.Chained(o, n, p)),
        Recipe(f"OneForAll({n})", lambda o, _: modules.OneForAll(o, 0.1, n)),
        Recipe(f"Table({n})", lambda o, _: modules.Table(o, [1 / (1 + k) for k in range(n + m)])),
    ]
    name = rng.choice(HUGGING)
    made += [hugging(name, n, n + m) if find("transformers") else made[0]] * 3
    return rng.choice(made)


def find(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


def hugging(name: str, warmup: int, total: int) -> Recipe:
    import transformers as hf

    named: dict[str, Callable[[Any], Any]] = {
        "linear": lambda o: hf.get_linear_schedule_with_warmup(o, warmup, total),
        "cosine": lambda o: hf.get_cosine_schedule_with_warmup(o, warmup, total),
        "restarts": lambda o: hf.get_cosine_with_hard_restarts_schedule_with_warmup(o, warmup, total, 2),
        "polynomial": lambda o: hf.get_polynomial_decay_schedule_with_warmup(o, warmup, total, 1e-7),
        "inverse_sqrt": lambda o: hf.get_inverse_sqrt_schedule(o, warmup),
        "constant": lambda o: hf.get_constant_schedule_with_warmup(o, warmup),
        "wsd": lambda o: hf.get_wsd_schedule(o, warmup, max(total // 4, 1), num_stable_steps=total // 2),
    }
    return Recipe(f"transformers {name}({warmup}, {total})", lambda o, _: named[name](o))


def scheduler(rng: random.Random, around: Sequence[int], depth: int = 0) -> Recipe:
    kind = rng.random()
    if depth > 1 or kind < 0.7:
        return single(rng, around)
    parts = [scheduler(rng, around, depth + 1) for _ in range(rng.randint(2, 3))]
    words = ", ".join(part.words for part in parts)
    if kind < 0.85:
        stones = sorted(rng.sample(range(1, 60), len(parts) - 1))
        return Recipe(
            f"SequentialLR([{words}], {stones})",
            lambda o, m: torchs.SequentialLR(o, [part.build(o, m) for part in parts], stones),
        )
    return Recipe(
        f"ChainedScheduler([{words}])",
        lambda o, m: torchs.ChainedScheduler([part.build(o, m) for part in parts], optimizer=o),
    )


class Drawn(NamedTuple):
    """A set-up, and what a judge may know of it."""

    setup: Setup
    words: str
    recipes: list[Recipe]
    rhythms: list[dict[str, Any]]
    plain: bool  # one scheduler, and nothing that is rare
    plateaus: bool


def draw(seed: int) -> Drawn:
    """Draw a set-up from its seed; where transformers is not installed, a cosine stands for its own."""
    rng = random.Random(seed)
    batches = rng.choice([1, 2, 3, 5, 7, 8, 10, 16])
    epochs = rng.choice([1, 2, 3, 5, 8, 12])
    options: dict[str, Any] = {"max_epochs": epochs}
    rare: list[str] = []

    def sometimes(share: float, word: str) -> bool:
        if rng.random() < share:
            rare.append(word)
            return True
        return False

    if sometimes(0.2, "max_steps"):
        options["max_steps"] = rng.randint(1, batches * epochs + 3)
        if rng.random() < 0.3:
            options["max_epochs"] = rng.choice([None, -1])
    if sometimes(0.15, "limit_train_batches"):
        options["limit_train_batches"] = rng.choice([1, 2, 0.5, 1.0, 4])
    accumulate = rng.choice([2, 3, 4]) if sometimes(0.25, "accumulate") else 1
    callbacks: list[Callable[[], Callback]] = []
    if accumulate > 1:
        if rng.random() < 0.35:
            plan = {0: accumulate, rng.randint(1, 4): rng.choice([1, 2, 5])}
            options["accumulate_grad_batches"] = 1
            rare.append(f"scheduled {plan}")
            callbacks.append(lambda: GradientAccumulationScheduler(dict(plan)))
        else:
            options["accumulate_grad_batches"] = accumulate
    updates = math.ceil(batches / accumulate) * epochs

    groups = rng.choice([1, 1, 1, 2, 3])
    lrs = [0.1, *(rng.choice([0.1, 0.01, 0.3]) for _ in range(groups - 1))]
    tensors = sometimes(0.08, "tensors")
    make = rng.choice([SGD, SGD, Adam, AdamW])

    count = rng.choice([1, 1, 1, 1, 1, 0, 2, 3])
    recipes, rhythms, plateaus = [], [], False
    for _ in range(count):
        rhythm: dict[str, Any] = {"interval": rng.choice(["step", "step", "epoch"])}
        if rng.random() < 0.2:
            rhythm["frequency"] = rng.choice([2, 3, 4, 8])
        if sometimes(0.08, "plateau"):
            patience, factor = rng.choice([0, 0, 1, 2, 5]), rng.choice([0.1, 0.5])
            recipes.append(
                Recipe(
                    f"ReduceLROnPlateau({factor}, {patience})",
                    lambda o, _, f=factor, p=patience: torchs.ReduceLROnPlateau(o, factor=f, patience=p),
                )
            )
            rhythm["monitor"], rhythm["strict"] = rng.choice(["val_loss", "train_loss"]), rng.random() < 0.5
            plateaus = True
        else:
            near = [updates, epochs, batches] if rhythm["interval"] == "epoch" else [updates, updates, epochs * batches]
            recipes.append(scheduler(rng, near))
        rhythms.append(rhythm)

    kind: Any = Toy
    validation = sometimes(0.3, "validation") or plateaus
    if plateaus:
        kind = Logs
    elif validation:
        kind = modules.Validates
    elif sometimes(0.06, "last batch"):
        kind = modules.OnlyAtLastBatch
    elif sometimes(0.04, "next epoch"):
        kind = modules.TellsNextEpoch
    elif sometimes(0.04, "skips"):
        kind = modules.SkipsSome
    if validation:
        options["check_val_every_n_epoch"] = rng.choice([1, 1, 2, 3])
        fits = [one for one in (1.0, 0.5, 2, 3) if one != int(one) or one <= batches]
        options["val_check_interval"] = rng.choice(fits)
        if rng.random() < 0.2 and isinstance(options["val_check_interval"], int):
            options["check_val_every_n_epoch"] = None
        options["num_sanity_val_steps"] = rng.choice([0, 2])
    if sometimes(0.06, "averaging"):
        start = rng.choice([0.5, 0.8, 1, 2])
        callbacks.append(lambda: StochasticWeightAveraging(0.05, start, annealing_epochs=2))
    # A run that goes on within the averaging is not foretold before it begins.
    save = rng.randint(1, max(updates, 1)) if "averaging" not in rare and sometimes(0.25, "resumed") else 0
    how = rng.choice(["steps", "epochs", "epoch ends", "exception"])
    place, shorter = rng.random(), rng.choice([0, 0, 0, 1, 2])

    def configure(m: Any) -> Any:
        given = [{"params": [w], "lr": torch.tensor(lr) if tensors else lr} for w, lr in zip(m.w, lrs)]  # noqa: B905
        optimizer = make(given, lr=0.1)
        configs = [
            {"scheduler": one.build(optimizer, m), **rhythm} for one, rhythm in zip(recipes, rhythms, strict=True)
        ]
        return ([optimizer], configs) if configs else optimizer

    def first_part(setup: Setup, folder: Path) -> Path:
        kept = folder / "kept"
        if not kept.exists():
            keep = {
                "steps": {"every_n_train_steps": save},
                "epochs": {"every_n_epochs": 1},
                "epoch ends": {"save_on_train_epoch_end": True},
                "exception": {"save_on_exception": True, "every_n_train_steps": 10**6},
            }[how]
            more: list[Callback] = [ModelCheckpoint(kept, save_top_k=-1, **keep)]
            more += [Interrupts(save)] if how == "exception" else []
            again = {"enable_checkpointing": True}
            if shorter and (options["max_epochs"] or 0) > shorter:
                again["max_epochs"] = options["max_epochs"] - shorter
            trainer, module, loaders = setup.build(*more, **again)
            try:
                trainer.fit(module, **loaders)
            except RuntimeError as error:
                if str(error) != "interrupted":
                    raise
        files = sorted(kept.glob("*.ckpt"), key=lambda file: (len(file.name), file.name))
        if not files:
            raise Nothing
        return files[int(place * len(files))]

    words = f"{batches} batches, {options}, {make.__name__} {lrs}, {rare}, {kind.__name__}" + (
        f", resumed from {how} {save}" if save else ""
    )
    words += "".join(f"\n    {one.words} {rhythm}" for one, rhythm in zip(recipes, rhythms, strict=True))
    setup = Setup(
        f"random {seed}",
        words,
        configure,
        frozenset(),
        module=kind,
        train=lambda: loader(batches),
        val=(lambda: loader(1)) if validation else None,
        callbacks=lambda: [one() for one in callbacks],
        options=options,
        ckpt=first_part if save else None,
    )
    plain = count == 1 and not {"averaging", "resumed", "last batch", "next epoch", "skips", "plateau"} & {*rare}
    return Drawn(setup, words, recipes, rhythms, plain, plateaus)


class Nothing(Exception):
    """The first part of the run left no checkpoint."""


class Logs(modules.Validates):
    """Logs both metrics that a plateau may ask for."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("train_loss", loss.detach())
        return loss


# Judges. Each yields what is wrong.


def trained(setup: Setup, folder: Path, before: Callable[..., Any] | None = None) -> tuple[Measured, Any]:
    """A run, and its parameters and the state of torch's generator at the end of it."""
    kept: list[Any] = []

    def look(trainer: Any, module: Any, **loaders: Any) -> None:
        kept.append(module)
        if before is not None:
            before(trainer, module, **loaders)

    run = measured(setup, folder, look)
    return run, ([w.detach().tolist() for w in kept[0].w], torch.random.get_rng_state().sum().item())


def wrong(drawn: Drawn, folder: Path) -> list[str]:
    """Everything that is wrong with the forecast of a set-up."""
    setup = drawn.setup
    began = time.process_time()
    try:
        plain, after = trained(setup, folder)
    except Nothing:
        return []
    except Exception as error:  # the first part could not be trained
        return [] if setup.ckpt is not None else [f"the plain run: {error!r}"]
    plainly = time.process_time() - began
    made: list[Any] = []

    def forecast(*fit: Any, **loaders: Any) -> None:
        start = time.process_time()
        try:
            made.append(lr_recipes.forecast(*fit, **loaders))
        except ValueError as error:
            made.append(error)
        made.append(time.process_time() - start)

    found: list[str] = []
    then, then_after = trained(setup, folder, forecast)
    if then != plain or then_after != after:
        found.append("the run after the forecast is another one")
    told, seconds = made
    if seconds > SECONDS and seconds > RUNS * plainly:
        found.append(f"it took {seconds:.1f} s, the run itself {plainly:.1f} s")
    if not plain.updates and plain.error is not None:  # before its first batch: nothing to compare with
        return found
    if not plain.used:
        return found if plain.error is not None or not isinstance(told, Exception) else [*found, repr(told)]
    if isinstance(told, Exception):
        return [*found, repr(told)]
    found += compared(drawn, plain, told)
    found += judged(drawn, plain, told)
    found += logged(setup, folder, plain, after, told)
    return found


def compared(drawn: Drawn, plain: Measured, told: Any) -> list[str]:
    used, first, found = plain.used[0], plain.begun, []
    end = first + len(used)
    if told.total_steps() != end:
        found.append(f"total_steps() is {told.total_steps()}, and the run ends at {end}")
    known = min(told.known_steps(), end)
    decides = min(
        (ticks[0] for one, ticks in zip(drawn.rhythms, plain.ticks, strict=False) if "monitor" in one and ticks),
        default=len(used),
    )
    if known < first + min(decides, len(used)):
        found.append(f"known_steps() is {known} of {end}, decisions from {first + decides}: {told.caveats}")
    for n in range(first, known):
        if tuple(told.lr(n)) != used[n - first]:
            found.append(f"update {n} uses {used[n - first]}, foretold was {told.lr(n)}")
            break
    for s, ticks in enumerate(plain.ticks):
        said = [n - first for n in told.ticks(s)]
        sure = max(len(ticks) - (plain.error is not None), 0)
        if said[:sure] != ticks[:sure] or (plain.error is None and len(said) != sure):
            found.append(f"ticks of scheduler {s} are {ticks}, foretold were {said}")
    return found


def judged(drawn: Drawn, plain: Measured, told: Any) -> list[str]:
    """Findings that the measured LRs alone decide."""
    names, found = {one.name for one in told.findings}, []
    lrs = plain.used[0]
    top = [lr[0] for lr in lrs]

    def must(name: str, there: bool, why: str) -> None:
        if (name in names) != there:
            found.append(f"{name} should {'' if there else 'not '}be found: {why}; {sorted(names)}")

    if not lrs:
        return []
    must("raises", plain.error is not None, str(plain.error))
    never = any(not ticks for ticks in plain.ticks)
    if plain.error is None:
        if "replaced" not in names:
            must("never_ticks", never, f"ticks {plain.ticks}")
        if not drawn.plateaus:
            must("negative_lr", any(lr < 0 for one in lrs for lr in one), "by the smallest LR")
    if not plain.begun and plain.error is None and not never:
        zero = not any(lrs[0]) and any(map(any, lrs))
        must("first_updates_zero", zero, f"update 0 uses {lrs[0]}")
    if drawn.plateaus or plain.error is not None or "total_unknown" in names:
        return found
    ticked = all(ticks and ticks[0] < len(lrs) for ticks in plain.ticks)  # else a decay that never began
    if drawn.plain and len({*lrs}) == 1 and ticked and names & OF_LENGTH:
        found.append(f"it is constant, {sorted(names & OF_LENGTH)}")
    for name in ("climbs_again", "peak_not_reached"):
        if all(after <= before for group in zip(*lrs, strict=True) for before, after in itertools.pairwise(group)):
            must(name, False, "it never rises")
    for name in ("climbs_again", "finished_early", "vanishes"):
        if all(after >= before for group in zip(*lrs, strict=True) for before, after in itertools.pairwise(group)):
            must(name, False, "it never falls")
    if not drawn.plain:
        return found
    facts, reach = drawn.recipes[0].facts, len(plain.ticks[0])
    if "T_max" in facts and not names & {"never_ticks", "frequency_restarts", "frequency_with_accumulation"}:
        length, three = facts["T_max"], {"climbs_again", "floor_not_reached", "finished_early"}
        if facts["low"] < min(top[0], *lrs[0]) / 10 and len({*top}) > 4:
            if length == reach and names & three:
                found.append(f"T_max is the ticks, {reach}: {sorted(names)}")
            if 2 * length <= reach and names & three != {"climbs_again"}:
                found.append(f"T_max={length}, {reach} ticks: climbs_again, not {sorted(names)}")
            if length >= 1.5 * reach and names & three != {"floor_not_reached"}:
                found.append(f"T_max={length}, {reach} ticks: floor_not_reached, not {sorted(names)}")
    if "stones" in facts and reach:
        missed = [stone for stone in facts["stones"] if stone != int(stone) or stone > reach]
        must("milestone_never_hit", bool(missed), f"{missed} of {facts['stones']} in {reach} ticks")
    return found


def logged(setup: Setup, folder: Path, plain: Measured, after: Any, told: Any) -> list[str]:
    """What is wrong with the run that has a LearningRateLogger."""
    kept: list[Any] = []

    def more() -> list[Any]:
        kept.append(lr_recipes.LearningRateLogger(folder / f"own{len(kept)}", plot=False))
        return [*setup.callbacks(), kept[-1]]

    with heard(rank_zero.rank_zero_module.log.name) as lines:  # its own: the level of the loggers above is raised
        run, run_after = trained(replace(setup, callbacks=more), folder)
    found = []
    if (run.used, run.ticks, run.random, run.error) != (plain.used, plain.ticks, plain.random, plain.error):
        found.append(f"the run with a logger is another one: {run.error}")
    if run_after != after:
        found.append("the run with a logger ends otherwise")
    mine = kept[-1].forecast
    if mine is None and plain.updates:
        return [*found, "the logger has no forecast"]
    # An averaging that begins with the run has put its scheduler there before the first batch.
    from_the_start = any(isinstance(one, StochasticWeightAveraging) for one in setup.callbacks())
    if mine is not None and str(mine) != str(told) and not from_the_start:
        found.append(f"the logger's forecast is another one:\n{mine}\n--- not\n{told}")
    end = plain.begun + len(plain.used[0])
    if plain.error is None and told.known_steps() >= end and plain.updates:
        count = len(plain.used[0])
        said = [re.search(r"used = forecast on ([\d,]+) of ([\d,]+) update", line) for line in lines]
        agree = [one for one in said if one is not None and one[1] == one[2]]
        # An update without a loss is none for the logger.
        skips = setup.module is modules.SkipsSome
        if not agree or not (skips or agree[0][1] == f"{count:,}"):
            found.append(f"{count:,} updates, and it was said: {lines[-2:]}")
    return found


def run_one(seed: int) -> tuple[int, str]:
    """Check the set-up of a seed."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            drawn = draw(seed)
            bad = wrong(drawn, Path(folder))
        except Exception:
            return seed, f"{traceback.format_exc()}"
    return seed, "".join([f"{drawn.words}\n", *(f"  - {one}\n" for one in bad)]) if bad else ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args(arguments)
    seeds, failures = range(given.first, given.first + given.cases), 0
    with multiprocessing.Pool(given.jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for seed, bad in pool.imap_unordered(run_one, seeds, chunksize=4):
            if bad:
                failures += 1
                print(f"seed {seed}: {bad}", flush=True)
    print(f"{given.cases} cases, {failures} failures")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
