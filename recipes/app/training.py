"""`python train.py`: a composed config is checked, built, fitted and measured; reads from top to bottom.

Heavy imports wait until they are needed, so that help and most mistakes are answered at once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.utils import instantiate
from omegaconf import DictConfig

from recipes.app.batch_scaling import is_scaled, scaling_in_words
from recipes.app.run_folder import how_to_train_longer, is_first_process, save_settings, settings_since, shown
from recipes.app.threads import on_threads
from recipes.app.validation import check

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
    from torch.nn import Module

log = logging.getLogger(__name__)


def run(cfg: DictConfig, callbacks: Sequence[Callback] = ()) -> dict[str, float]:
    """Train, then measure the best checkpoint.

    Args:
        cfg: the composed config.
        callbacks: more of them, after those of the config.

    Returns:
        Validation and test metrics by name.

    Raises:
        ValueError, OSError: the config asks for something impossible; says what and how to change it.
    """
    check(cfg)
    parts = build(cfg, callbacks)
    if is_first_process():
        log.info("Model: %s", size(parts.model))
    folder = Path(cfg.output_dir)
    before = settings_since(folder)
    with on_threads(cfg.threads, parts.model):
        # weights_only, here and below: a checkpoint is data, and loading one must not run code
        parts.trainer.fit(parts.model, datamodule=parts.data, ckpt_path=cfg.ckpt_path, weights_only=True)
        if cfg.ckpt_path is not None and settings_since(folder) == before and is_first_process():
            log.info(how_to_train_longer(cfg))  # the callbacks have said that nothing was left to do
        return measure(parts)


def size(model: Module) -> str:
    """Return how many parameters a model has, in words.

    Example:
        >>> from torch.nn import Linear
        >>> size(Linear(99, 10))
        '1,000 parameters'
    """
    return f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters"


class Parts(NamedTuple):
    """What a config becomes."""

    trainer: Trainer
    model: LightningModule
    data: LightningDataModule


def build(cfg: DictConfig, callbacks: Sequence[Callback] = ()) -> Parts:
    """Build data, model and Trainer, and check that checkpoints belong to the model."""
    if is_scaled(cfg) and is_first_process():
        log.info(scaling_in_words(cfg))
    model, data = model_and_data(cfg)
    own = [instantiate(node) for node in cfg.callbacks.values()]
    trainer = instantiate(
        cfg.trainer,
        callbacks=[*own, *callbacks, settings_saver(cfg)],
        logger=[instantiate(node) for node in cfg.logger.values()],
    )
    return Parts(trainer, model, data)


def check_device(trainer: DictConfig) -> None:
    """Refuse a GPU where there is none.

    Raises:
        ValueError: says so, and what to write.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kinds = {"gpu": ("cuda", "mps"), "cuda": ("cuda",), "mps": ("mps",)}.get(trainer.get("accelerator"), ())
    if kinds and not any(there[kind] for kind in kinds):
        raise ValueError(
            f"trainer.accelerator={trainer.accelerator!r}: torch {torch.__version__} finds no such device here: write "
            "trainer=cpu, or leave trainer=gpu out; task=preview shows the plan of a GPU run without one"
        )


def model_and_data(cfg: DictConfig) -> tuple[LightningModule, LightningDataModule]:
    """Seed everything and build the model, with the weights that the config names, and its data."""
    from lightning.pytorch import LightningModule, seed_everything

    if logging.getLogger().handlers:
        # Lightning prints through a handler of its own and passes on to the root logger's, which the job's config set
        logging.getLogger("lightning").handlers.clear()
    check_device(cfg.trainer)
    seed_everything(cfg.seed, workers=True, verbose=False)
    # data first: its task fixes the shape of the model
    data = data_of(cfg)
    model: LightningModule = instantiate(cfg.model, optimizer=instantiate(cfg.optimizer), task=data.task)
    check_made("model", cfg.model, model, LightningModule)
    load_weights(cfg, model)
    return model, data


def data_of(cfg: DictConfig) -> Any:
    """Build the data, which say what the task is.

    Raises:
        ValueError: they are none.
    """
    from lightning.pytorch import LightningDataModule

    data = instantiate(cfg.data)
    check_made("data", cfg.data, data, LightningDataModule)
    if not hasattr(data, "task"):
        raise ValueError(f"data._target_={cfg.data._target_!r} has no task, which the model is built for: give it one")
    return data


def check_made(name: str, node: DictConfig, built: object, kind: type[Any]) -> None:
    """Refuse what a node's target made, where it is of another kind.

    Raises:
        ValueError: says what the target must be.
    """
    if not isinstance(built, kind):
        raise ValueError(
            f"{name}._target_={node._target_!r} makes a {type(built).__name__}: it must be a {kind.__name__}"
        )


def load_weights(cfg: DictConfig, model: LightningModule) -> None:
    """Take the weights from ``ckpt_path``, ``weights`` or ``pretraining``: the first that is given.

    The Trainer itself loads what is in ``ckpt_path``; here it is checked. The head is new where it is for other
    classes, and always after pretraining.
    """
    from recipes.app.checkpoints import (
        check_optimizer_state,
        check_paths,
        check_weights,
        load_backbone,
        read_checkpoint,
    )

    if cfg.ckpt_path is not None:
        checkpoint, name = read_checkpoint(cfg.ckpt_path, "ckpt_path"), f"ckpt_path={cfg.ckpt_path!r}"
        check_paths(checkpoint, name)
        check_weights(checkpoint, model, name)
        check_optimizer_state(checkpoint, model.configure_optimizers(), name)
    elif cfg.weights is not None:
        new = load_backbone(read_checkpoint(cfg.weights, "weights"), model, f"weights={cfg.weights!r}")
        if new:
            log.info(
                "weights: taken for the backbone; the head is new, because the classes differ (%s)", ", ".join(new)
            )
    elif cfg.pretraining is not None:
        from recipes.app.pretraining import pretrained

        path = str(pretrained(cfg))
        load_backbone(read_checkpoint(path, "pretraining"), model, f"pretraining ({path})", new_head=True)


def settings_saver(cfg: DictConfig) -> Callback:
    """Return a callback that writes the config into the run's folder when training begins."""
    from lightning.pytorch.callbacks import LambdaCallback

    def save(trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            save_settings(cfg, Path(cfg.output_dir))

    # last in the list of callbacks: by now the others have resolved their schedules and compared them with the
    # checkpoint, and a run that they refused has left no settings behind
    return LambdaCallback(on_train_start=save)


def measure(parts: Parts) -> dict[str, float]:
    """Measure the best checkpoint, or the last state where there is none, on the validation and test sets."""
    best = best_checkpoint(parts.trainer)
    metrics: dict[str, float] = {}
    for evaluate in (parts.trainer.validate, parts.trainer.test):
        for found in evaluate(parts.model, datamodule=parts.data, ckpt_path=best, weights_only=True, verbose=False):
            metrics |= found
    if metrics and parts.trainer.is_global_zero:
        log.info(table(metrics, shown(Path(best)) if best else "the last state"))
    return metrics


def best_checkpoint(trainer: Trainer) -> str | None:
    """Return the best checkpoint by a metric, if one was written."""
    from lightning.pytorch.callbacks import ModelCheckpoint

    # a ModelCheckpoint without a metric calls its newest file the best, and a path that came back with its state may
    # be gone, or be any file's
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and Path(callback.best_model_path).is_file():
            own = {Path(one).resolve() for one in (callback.dirpath, Path(trainer.ckpt_path or "").parent) if one}
            if Path(callback.best_model_path).resolve().parent in own:
                return callback.best_model_path
    return None


def table(metrics: dict[str, float], source: str) -> str:
    """Return the metrics as text: a row for each data set, a column for each metric.

    Example:
        >>> print(table({"val_loss": 0.5, "test_loss": 0.25}, "best.ckpt"))
        metrics of best.ckpt
                  loss
        val     0.5000
        test    0.2500
    """
    cells = {tuple(name.split("_", 1)): f"{value:10.4f}" for name, value in metrics.items()}
    rows, columns = (dict.fromkeys(cell[part] for cell in cells) for part in (0, 1))
    lines = [f"{row:<4}" + "".join(cells.get((row, column), " " * 10) for column in columns) for row in rows]
    return "\n".join([f"metrics of {source}", " " * 4 + "".join(f"{column:>10}" for column in columns), *lines])
