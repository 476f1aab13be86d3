"""The run before the run: weights that fine-tuning starts from, trained once, kept in a folder and reused.

``pretraining`` in the config lists settings as they are typed after ``python train.py``. The model is that of the run
that asks; everything else is composed from the list. Two runs that ask at once do not both train: the second waits.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf import DictConfig, OmegaConf

import lr_recipes
from lr_recipes.callbacks.telling import tell
from recipes.app.checkpoints import read_checkpoint
from recipes.app.config import composed
from recipes.app.run_folder import shown
from recipes.app.sweep import in_words_of_time
from recipes.app.threads import on_threads
from recipes.app.validation import check

log = logging.getLogger(__name__)

_TIMED = 20  # updates after which it is said how long the rest will take
# What changes the weights; the rest of a config says where things are written and shown.
_COUNTS = ["seed", "model", "data", "optimizer", "batch_scaling", "schedule", "trainer"]


def pretrained(cfg: DictConfig) -> Path:
    """Return the checkpoint of the run that ``pretraining`` describes; if it is not there, train it first.

    Args:
        cfg: the config of the run that will start from it.

    Raises:
        ValueError, OSError: as a run of its own would.
    """
    first = config_of(cfg)
    check(first)
    data = instantiate(first.data)
    path = Path(cfg.pretrained_dir, f"{name_of(first, getattr(data, 'data_hash', ''))}.ckpt")
    if _can_be_read(path):
        log.info("Pretrained weights: %s", shown(path))
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"pretrained_dir={cfg.pretrained_dir!r} cannot be used ({error.strerror}): give another folder for "
            "weights, as in pretrained_dir=/tmp/pretrained"
        ) from error
    with FileLock(path.with_suffix(".lock")):  # the system lets go of it when the process dies
        if not _can_be_read(path):  # another process may have made it meanwhile
            _pretrain(first, data, path, cfg.pretraining)
    return path


def config_of(cfg: DictConfig) -> DictConfig:
    """Compose the config of the pretraining: the listed settings, with the model and the device of ``cfg``."""
    listed = [str(one) for one in cfg.pretraining]
    first = composed("output_dir=unused", "callbacks=[learning_rate_scheduler]", "logger=none", *listed)
    # without the ratios, which are for weights that are trained already
    first.model = {**cfg.model, **{name: 1.0 for name in ("head_lr_ratio", "layer_decay") if name in cfg.model}}
    first.trainer.accelerator = cfg.trainer.accelerator
    first.trainer.enable_progress_bar = cfg.trainer.enable_progress_bar
    first.threads = cfg.threads
    return first


def name_of(first: DictConfig, data_hash: str) -> str:
    """Return a name that changes with whatever changes the weights: settings, data, version."""
    settings: Any = OmegaConf.to_container(OmegaConf.masked_copy(first, _COUNTS), resolve=False)
    del settings["trainer"]["enable_progress_bar"]  # taken over from the run that asks; changes no weight
    whole = json.dumps([settings, data_hash, lr_recipes.__version__], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def _can_be_read(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        read_checkpoint(str(path), "pretraining")
    except ValueError:
        log.warning("%s is damaged and will be trained again", shown(path))
        return False
    return True


def _pretrain(first: DictConfig, data: Any, path: Path, listed: Any) -> None:
    log.info("Pretraining, once: python train.py %s", shlex.join(map(str, listed)))
    started = time.perf_counter()
    so_far = path.with_suffix(".so_far")  # what an interrupted one goes on from; never taken for the weights
    goes_on = _can_be_read(so_far)
    if goes_on:
        log.info("It goes on where it was interrupted: %s", shown(so_far))
    with _undisturbed():
        seed_everything(first.seed, workers=True, verbose=False)
        model: LightningModule = instantiate(first.model, optimizer=instantiate(first.optimizer), task=data.task)
        trainer: Trainer = instantiate(
            first.trainer,
            callbacks=[*(instantiate(node) for node in first.callbacks.values()), _KeepsAndTells(so_far)],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            default_root_dir=str(path.parent),
        )
        try:
            with on_threads(first.threads, model):
                trainer.fit(model, datamodule=data, ckpt_path=str(so_far) if goes_on else None, weights_only=True)
                (metrics,) = trainer.validate(model, datamodule=data, verbose=False)
        except (KeyboardInterrupt, SystemExit):  # the second is how Lightning ends a run after Ctrl-C
            raise interrupted(so_far) from None
    if trainer.interrupted:  # should `fit` have returned after Ctrl-C: weights that are half trained are not kept
        raise interrupted(so_far)
    _save(trainer, path, weights_only=True)
    so_far.unlink(missing_ok=True)
    found = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
    log.info("Pretrained in %.0f s (%s): %s", time.perf_counter() - started, found, shown(path))


def interrupted(so_far: Path) -> KeyboardInterrupt:
    """Return the end of a pretraining that somebody has broken off, with how it goes on."""
    way = "goes on with it where its last epoch ended" if so_far.is_file() else "begins it anew"
    return KeyboardInterrupt(f"Interrupted while it was pretraining: the same command {way}.")


class _KeepsAndTells(Callback):
    """Keeps the state after each epoch, and says once how long the rest will take, from the first updates."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._first, self._since = 0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The very first update warms the machine up: what it takes says nothing of the others.
        self._first, self._since = trainer.global_step + 1, 0.0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        done, now = trainer.global_step - self._first, time.perf_counter()
        if done == 0 and not self._since:
            self._since = now
        elif done == _TIMED:
            left = int(trainer.estimated_stepping_batches) - trainer.global_step
            seconds = max(left * (now - self._since) / done, 1)
            tell(trainer, f"Pretraining takes about {in_words_of_time(seconds)}: {left:,} more updates")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch + 1 != trainer.max_epochs:  # after the last one the weights themselves are written
            _save(trainer, self.path, weights_only=False)


def _save(trainer: Trainer, path: Path, *, weights_only: bool) -> None:
    """Write a checkpoint; the name is given to a whole file only."""
    # synced before it is renamed, or the name could survive a power cut and the content not
    partial = path.with_suffix(".partial")
    trainer.save_checkpoint(partial, weights_only=weights_only)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Leave random generators as they were, so that a run is the same whether or not pretraining came before it."""
    names = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")  # how `seed_everything` hands a seed to worker processes
    before = {name: os.environ[name] for name in names if name in os.environ}
    with isolate_rng():
        try:
            yield
        finally:
            for name in names:
                os.environ.pop(name, None)
            os.environ.update(before)
