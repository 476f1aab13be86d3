"""`python train.py task=preview`: what the LR will do, without training.

The plan is made as a run makes it, by the same schedule on the same horizon, but of plain numbers: the settings and the
data say how many updates there will be, and no Trainer is built. What does not change the plan is left out: the model's
weights have no memory, the data of our own modules are not loaded, and no device is touched, so the plan of a GPU run
can be seen on a machine without one.

Without a LearningRateScheduler among the callbacks, the schedulers of the module's own are shown, by a forecast; that
one needs a Trainer and the data.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningModule
from omegaconf import DictConfig
from torch.optim import Optimizer

from lr_recipes import LearningRateRangeTest, LearningRateScheduler, forecast
from lr_recipes.callbacks.aside import aside
from lr_recipes.callbacks.fit import optimizer_names, refuse_foreign, spread, tokens_per_sample_of
from lr_recipes.callbacks.learning_rate_scheduler import check_optimizers, position_in
from lr_recipes.optimizer.clock import Clock
from lr_recipes.optimizer.follow import check_plan
from lr_recipes.optimizer.groups import built_lrs, group_names
from lr_recipes.plan.loop import Limits, Start
from lr_recipes.plan.plan import Plan
from lr_recipes.plan.resume import choose
from lr_recipes.report.chart import Point
from lr_recipes.report.lr_csv import write_several
from lr_recipes.report.picture import figure_of_several, save_figure
from lr_recipes.report.preview import Preview
from lr_recipes.report.rows import read_rows
from recipes.app.batch_scaling import is_scaled, scaling_in_words
from recipes.app.checkpoints import read_checkpoint
from recipes.app.limits import limits_of_run, time_of_run
from recipes.app.run_folder import OVERRIDES, SETTINGS, save_settings, shown
from recipes.app.sweep import labels
from recipes.app.taken_over import words_in
from recipes.app.training import check_made, data_of
from recipes.app.validation import check

log = logging.getLogger(__name__)

STEM = "preview"  # of the files' names


def run(cfg: DictConfig) -> dict[str, float]:
    """Print the preview and write its picture and table; in a sweep also those of all jobs so far.

    Args:
        cfg: the composed config.

    Returns:
        No metrics.

    Raises:
        ValueError, OSError: as training would, where it would refuse to begin because of the plan.
    """
    check(cfg)
    folder, previews = Path(cfg.output_dir), previews_of(cfg)
    for name, one in previews.items():
        stem = f"{STEM}-{name}" if len(previews) > 1 else STEM
        one.to_csv(folder / f"{stem}.csv")
        save_figure(one.plot(), folder / f"{stem}.png")
        log.info("%s\n\nDrawn: %s", one, shown(folder / f"{stem}.png"))
    if HydraConfig.initialized():
        if not (folder / SETTINGS).exists():  # a run that goes on keeps its own
            save_settings(cfg, folder)
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            count = draw_together(folder.parent)
            log.info("Drawn: %s (all %s so far)", shown(folder.parent / f"{STEM}.png"), count)
    return {}


def previews_of(cfg: DictConfig) -> dict[str, Preview]:
    """Return what the LR of each optimizer will do, by the name of the optimizer."""
    data = data_of(cfg)
    model = _model(cfg, data)
    check_made("model", cfg.model, model, LightningModule)
    callbacks = [instantiate(node) for node in cfg.callbacks.values()]
    scheduler = _owner(callbacks)
    if scheduler is None:
        return _foretold(cfg, model, data, callbacks)
    configured = _configured(model)
    limits = limits_of_run(
        cfg.trainer,
        data,
        callbacks,
        automatic=model.automatic_optimization,
        tokens_per_sample=tokens_per_sample_of(data, model),
    )
    time = time_of_run(cfg.trainer, callbacks) if scheduler.progress == "time" else None
    _refuse_others(scheduler, model, configured, callbacks)
    optimizers = configured.optimizers

    def plans_over(part: Limits) -> dict[str, Plan]:
        return scheduler.plans(
            {name: built_lrs(one) for name, one in optimizers.items()},
            part.horizon if time is None else lambda *_, **__: time,
            automatic=part.automatic,
            fast_dev_run=bool(cfg.trainer.get("fast_dev_run", False)),
        )

    followed = _followed(scheduler, plans_over, limits, cfg.ckpt_path)
    notes = ["the peak will be what the LR range test suggests"] if _will_be_swept(callbacks, cfg) else []
    notes += [scaling_in_words(cfg)] if is_scaled(cfg) else []
    previews = {}
    for name, (plan, position) in followed.items():
        check_plan(plan, optimizers[name])
        on = [f"the run goes on at update {position:,}"] if position else []
        previews[name] = Preview(plan, group_names(optimizers[name]), scheduler.interval, name, notes=[*on, *notes])
    return previews


def _will_be_swept(callbacks: Sequence[Callback], cfg: DictConfig) -> bool:
    """Whether a callback will set the peaks when training begins; a run that goes on keeps its own."""
    sweeps = [one for one in callbacks if isinstance(one, LearningRateRangeTest)]
    return cfg.ckpt_path is None and any(one.apply and one.epoch == 0 for one in sweeps)


def _owner(callbacks: Sequence[Callback]) -> LearningRateScheduler | None:
    """The callback that will own the LR, if any; of several the last one, which takes over from the others."""
    owners = [one for one in callbacks if isinstance(one, LearningRateScheduler)]
    return owners[-1] if owners else None


def _foretold(cfg: DictConfig, model: LightningModule, data: Any, callbacks: Sequence[Callback]) -> dict[str, Preview]:
    """What the module's own schedulers will do."""
    with aside():  # the ticks are the same on any device: none is needed here
        anywhere = {"accelerator": "cpu", "strategy": "auto", "precision": "32-true", "logger": False}
        trainer = instantiate(cfg.trainer, callbacks=callbacks, **anywhere)
    told = forecast(trainer, model, datamodule=data, ckpt_path=cfg.ckpt_path)
    if not told.all_ticks and not told.findings:
        raise ValueError(
            f"callbacks has no learning_rate_scheduler, so that training would not follow the schedule, and "
            f"{type(model).__name__} has no scheduler of its own: add it, as in "
            "callbacks=[learning_rate_scheduler,learning_rate_logger]"
        )
    previews = {one.title: one for one in told.previews()}
    if not previews:
        raise ValueError(f"no LR of this run can be shown before it: {'; '.join(told.caveats)}. Train, and see lr.csv")
    return previews


def _model(cfg: DictConfig, data: Any) -> LightningModule:
    """The model without memory for its weights, where it can be built so: only its parameter groups are asked for."""
    optimizer = instantiate(cfg.optimizer)
    # a compiler takes seconds to load, and trained weights may have to be fetched
    plain = {key: value for key, value in {"compile": False, "pretrained": None}.items() if key in cfg.model}

    def build() -> LightningModule:
        model: LightningModule = instantiate(cfg.model, optimizer=optimizer, task=data.task, **plain)
        return model

    try:
        with torch.device("meta"):
            return build()
    except Exception:  # a mistake in the settings comes again
        return build()


class Configured(NamedTuple):
    """What a module's `configure_optimizers` returned."""

    optimizers: dict[str, Optimizer]
    schedulers: list[Any]


def _configured(model: LightningModule) -> Configured:
    """Read what `configure_optimizers` returns, in each of the forms that Lightning takes."""
    given: Any = model.configure_optimizers()
    if isinstance(given, Sequence) and len(given) == 2 and isinstance(given[0], list):
        optimizers, schedulers = given[0], given[1] if isinstance(given[1], list) else [given[1]]
    else:
        parts = given if isinstance(given, (list, tuple)) else [given]
        optimizers = [one["optimizer"] if isinstance(one, Mapping) else one for one in parts]
        schedulers = [one["lr_scheduler"] for one in parts if isinstance(one, Mapping) and "lr_scheduler" in one]
    for one in optimizers:
        refuse_foreign(one, type(model).__name__)
    bare = [one["scheduler"] if isinstance(one, Mapping) else one for one in schedulers]
    return Configured(dict(zip(optimizer_names(optimizers), optimizers, strict=True)), bare)


def _refuse_others(
    scheduler: LearningRateScheduler, model: LightningModule, configured: Configured, callbacks: Sequence[Callback]
) -> None:
    """Refuse whoever else would write the LR, as training would."""
    ours = spread(scheduler.schedule, list(configured.optimizers), "schedule")
    theirs = [
        one for one in configured.schedulers if any(one.optimizer is configured.optimizers[name] for name in ours)
    ]
    scheduler.refuse_owners(model, theirs, callbacks)
    for name in ours:
        clock = Clock.on(configured.optimizers[name])
        if clock is not None and clock.bound and not scheduler.replace:
            clock.claim(type(scheduler).__name__)


# A run that goes on


class Followed(NamedTuple):
    """The plan that a run will follow, and the update at which it begins."""

    plan: Plan
    position: int = 0


def _followed(
    scheduler: LearningRateScheduler,
    plans_over: Callable[[Limits], dict[str, Plan]],
    limits: Limits,
    ckpt_path: str | None,
) -> dict[str, Followed]:
    """Choose between the plans of the checkpoint and those of the settings, as the callback does."""
    plans = plans_over(limits)
    checkpoint = {} if ckpt_path is None else read_checkpoint(ckpt_path, "ckpt_path")
    state = checkpoint.get("callbacks", {}).get(scheduler.state_key, {})
    scheduler.load_state_dict(state)  # refuses a damaged one
    saved = state.get("optimizers")
    if saved is None:
        return {name: Followed(plan) for name, plan in plans.items()}
    policy = scheduler.resume
    if policy != "restart":
        check_optimizers(saved, plans)
    elif set(saved) != set(plans) or any(choose(saved[n], plan, policy).differences for n, plan in plans.items()):
        return {name: Followed(plan) for name, plan in plans_over(limits._replace(start=_start(checkpoint))).items()}
    followed = {}
    for name, configured in plans.items():
        plan, position = choose(saved[name], configured, policy).plan, saved[name]["position"]
        if policy == "config":
            position = position_in(plan.horizon, saved[name], limits.max_steps)
        followed[name] = Followed(plan, position)
    return followed


def _start(checkpoint: dict[str, Any]) -> Start:
    """Where the run of a checkpoint was: a schedule that begins anew there has what is left of it."""
    loop = checkpoint["loops"]["fit_loop"]
    epoch = int(loop["epoch_progress"]["current"]["processed"])
    under_way = loop["epoch_progress"]["current"]["started"] > epoch
    steps = loop["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["current"]["completed"]
    return Start(epoch, int(checkpoint["global_step"]), int(steps) if under_way else 0)


# A sweep: each job writes its table; all tables that are there make one picture


def draw_together(sweep: Path) -> int:
    """Draw the curves of all jobs of a sweep that have one so far; return how many.

    Jobs may run at the same time. Each draws after it has written its own table, and again if others came meanwhile, so
    that the last picture holds all.
    """
    while True:
        tables = _tables(sweep)
        settings = [_overrides(table.parent) for table in tables]
        names = labels(settings, [f"{_number(table)}{table.stem.removeprefix(STEM)}" for table in tables])
        curves = {name: _points(table) for name, table in zip(names, tables, strict=True)}
        common = [one for one in settings[0] if all(one in others for others in settings) and one != "task=preview"]
        title = f"{len(curves)} plans" + (f", all with {' '.join(common)}" if common else "")
        save_figure(figure_of_several(curves, title), sweep / f"{STEM}.png")
        write_several(sweep / f"{STEM}.csv", curves)
        if _tables(sweep) == tables:
            return len(tables)


def _tables(sweep: Path) -> list[Path]:
    """The tables of the jobs, in the order of their numbers; where a folder was used again, the newest of a number."""
    newest: dict[str, Path] = {}
    for table in sorted(sweep.glob(f"*/{STEM}*.csv"), key=lambda path: path.stat().st_mtime):
        newest[f"{_number(table)}/{table.stem}"] = table
    return sorted(newest.values(), key=lambda table: (_number(table).zfill(9), table))


def _number(table: Path) -> str:
    """The job's number, with which its folder's name begins; else the whole name."""
    return table.parent.name.partition("_")[0]


def _overrides(job: Path) -> list[str]:
    return words_in(job / SETTINGS / OVERRIDES, job)


def _points(table: Path) -> list[Point]:
    """Updates and the LR of the group with the highest."""
    rows = [row for row in read_rows(table) if row]
    columns = [column for column in rows[0] if column.startswith("lr/")]
    return [(int(row["step"]), max(float(row[column]) for column in columns)) for row in rows]
