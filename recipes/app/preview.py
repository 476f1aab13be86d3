"""`python train.py task=preview`: what the LR will do, without training.

Everything up to the first update is done as a run does it: Lightning counts the batches, `LearningRateScheduler`
resolves its schedule on the horizon that it finds. Only what does not change the plan is left out: the model's weights
have no memory, the data of our own modules are not loaded, and no device is touched, so the plan of a GPU run can be
seen on a machine without one.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.strategies import Strategy
from omegaconf import DictConfig, OmegaConf

from lr_recipes import LearningRateRangeTest, LearningRateScheduler
from lr_recipes.optimizer.follow import BoundSchedule
from lr_recipes.optimizer.groups import group_names
from lr_recipes.report.chart import Point
from lr_recipes.report.lr_csv import read_rows, write_several
from lr_recipes.report.picture import figure_of_several, save_figure
from lr_recipes.report.preview import Preview
from recipes.app.batch_scaling import devices_of, is_scaled, scaling_in_words
from recipes.app.checkpoints import read_checkpoint
from recipes.app.run_folder import SETTINGS, save_settings, shown
from recipes.app.validation import check
from recipes.data.seeded import SeededData, Tickets

log = logging.getLogger(__name__)

STEM = "preview"  # of the files' names
# Settings of the Trainer that change no plan, and that other machines may lack or the process would keep.
_NEUTRAL = {
    "accelerator": "cpu",
    "precision": "32-true",
    "logger": False,
    "deterministic": None,
    "benchmark": None,
}


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
    with _quiet():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Lightning's, about devices and loaders; the run itself repeats them
            trainer, model = _ready_to_train(cfg)
        scheduler = _owner(trainer)
        if cfg.ckpt_path is not None:
            saved = read_checkpoint(cfg.ckpt_path, "ckpt_path").get("callbacks", {})
            scheduler.load_state_dict(saved.get(scheduler.state_key, {}))
        scheduler.on_fit_start(trainer, model)
        scheduler.on_train_start(trainer, model)
    notes = ["the peak will be what the LR range test suggests"] if _will_be_swept(trainer, cfg) else []
    notes += [scaling_in_words(cfg)] if is_scaled(cfg) else []
    return {name: _preview(name, bound, scheduler.interval, notes) for name, bound in scheduler.bound.items()}


def _preview(name: str, bound: BoundSchedule, interval: str, more: Sequence[str]) -> Preview:
    notes = [f"the run goes on at update {bound.position:,}"] if bound.position else []
    return Preview(bound.plan, group_names(bound.optimizer), interval, name, notes=[*notes, *more])


def _will_be_swept(trainer: Trainer, cfg: DictConfig) -> bool:
    """Whether a callback will set the peaks when training begins; a run that goes on keeps its own."""
    sweeps = [one for one in trainer.callbacks if isinstance(one, LearningRateRangeTest)]  # type: ignore[attr-defined]
    return cfg.ckpt_path is None and any(one.apply and one.epoch == 0 for one in sweeps)


def _owner(trainer: Trainer) -> LearningRateScheduler:
    """The callback that will own the LR; of several the last one, which takes over from the others."""
    owners = [one for one in trainer.callbacks if isinstance(one, LearningRateScheduler)]  # type: ignore[attr-defined]
    if not owners:
        raise ValueError(
            "callbacks has no learning_rate_scheduler, so that training would not follow the schedule: add it, as in "
            "callbacks=[learning_rate_scheduler,learning_rate_logger]"
        )
    return owners[-1]


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


def _trainer(node: DictConfig, callbacks: Sequence[Callback]) -> Trainer:
    """The Trainer of the config, with CPU processes in place of its devices: only their number counts."""
    devices = devices_of(node)
    strategy = "ddp" if devices * node.get("num_nodes", 1) > 1 else "auto"
    trainer: Trainer = instantiate(node, callbacks=list(callbacks), devices=devices, strategy=strategy, **_NEUTRAL)
    return trainer


def _ready_to_train(cfg: DictConfig) -> tuple[Trainer, LightningModule]:
    """Do what ``fit`` does before the first update, as far as the plan depends on it."""
    data = instantiate(cfg.data)
    model = _model(cfg, data)
    trainer = _trainer(cfg.trainer, [instantiate(node) for node in cfg.callbacks.values()])
    trainer.strategy.connect(model)
    trainer._data_connector.attach_data(model, train_dataloaders=_loader(trainer, data))
    Strategy.setup_optimizers(trainer.strategy, trainer)
    trainer.fit_loop.setup_data()
    if trainer.num_training_batches == 0:
        raise ValueError(
            f"the training data make no batch in an epoch (on {trainer.world_size} devices): training would end before "
            "its first update. Lower data.batch_size"
        )
    return trainer, model


def _loader(trainer: Trainer, data: LightningDataModule) -> Any:
    """A training loader with the length of the real one; of data modules that are not ours, the real one."""
    data.trainer = trainer
    if isinstance(data, SeededData):
        data.num_workers = 0
        data.train = Tickets(data.train_size)  # as many samples, none of which has to be made
        return data.train_dataloader()
    data.prepare_data()
    data.setup("fit")
    return data.train_dataloader()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning from saying what it finds on this machine, and the callback from printing the plan by itself."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


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


def labels(settings: Sequence[Sequence[str]], numbers: Sequence[str]) -> list[str]:
    """Name each job by what sets it apart.

    Args:
        settings: the overrides of each job.
        numbers: what tells jobs apart whose settings do not.

    Example:
        >>> labels([["seed=1", "schedule=step"], ["seed=1", "schedule=cosine"]], ["0", "1"])
        ['step', 'cosine']
        >>> labels([["schedule=step", "optimizer.lr=0.1"], ["schedule=step", "optimizer.lr=0.2"]], ["0", "1"])
        ['optimizer.lr=0.1', 'optimizer.lr=0.2']
    """
    common = set(settings[0]).intersection(*settings) if len(settings) > 1 else {"task=preview"}
    apart = [[one for one in own if one not in common] for own in settings]
    if {one.partition("=")[0] for own in apart for one in own} == {"schedule"}:
        apart = [[one.partition("=")[2] for one in own] for own in apart]
    names = [", ".join(own) or "as it is" for own in apart]
    return names if len(set(names)) == len(names) else [f"{n}: {name}" for n, name in zip(numbers, names, strict=True)]


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
    return [str(one) for one in OmegaConf.load(job / SETTINGS / "overrides.yaml")]


def _points(table: Path) -> list[Point]:
    """Updates and the LR of the group with the highest."""
    rows = [row for row in read_rows(table) if row]
    columns = [column for column in rows[0] if column.startswith("lr/")]
    return [(int(row["step"]), max(float(row[column]) for column in columns)) for row in rows]
