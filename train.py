"""Train a model with a learning rate that is used exactly as it was planned: `python train.py --help`.

Reads from top to bottom: a command line becomes a config (Hydra, ``conf/``), the config is checked, built, fitted and
measured. Heavy imports wait until they are needed, so that help and most mistakes are answered at once.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig

from recipes.app.batch_scaling import in_words, is_scaled
from recipes.app.messages import explain
from recipes.app.run_folder import (
    discard,
    how_to_go_on,
    is_new,
    register_resolvers,
    save_settings,
    shown,
    with_settings_of_the_run,
)

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

log = logging.getLogger(__name__)
register_resolvers()

# Said by libraries, right in general, and of no use to somebody who runs this program.
_NOISE = (
    ".isinstance.treespec, LeafSpec.. is deprecated",
    "The .* does not have many workers",  # a batch is one gather from memory
    "Checkpoint directory .* exists and is not empty",  # a run goes on in its folder
    "The dirpath has changed from",  # a branch has its own folder
)


class Mistake(Exception):
    """A job of a sweep ended with a mistake that has already been explained."""


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Run one job: the function that the config's ``task`` names. Returns the metric that a sweeper sees."""
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)
    with ended_well(Path(cfg.output_dir)):
        metrics: dict[str, float] = get_method(cfg.task.function)(cfg)
    return metrics.get(cfg.task.objective)


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
    from recipes.app.validation import check

    check(cfg)
    parts = build(cfg, callbacks)
    parts.trainer.fit(parts.model, datamodule=parts.data, ckpt_path=cfg.ckpt_path, weights_only=True)
    return measure(parts)


class Parts(NamedTuple):
    """What a config becomes."""

    trainer: Trainer
    model: LightningModule
    data: LightningDataModule


def build(cfg: DictConfig, callbacks: Sequence[Callback] = ()) -> Parts:
    """Build data, model and Trainer, and check that checkpoints belong to the model."""
    from lightning.pytorch import seed_everything

    if logging.getLogger().handlers:
        logging.getLogger("lightning").handlers.clear()  # or everything would be printed twice
    if is_scaled(cfg) and is_first_process():
        log.info(in_words(cfg))
    seed_everything(cfg.seed, workers=True, verbose=False)
    data = instantiate(cfg.data)
    model = instantiate(cfg.model, optimizer=instantiate(cfg.optimizer), task=data.task)
    load_weights(cfg, model)
    own = [instantiate(node) for node in cfg.callbacks.values()]
    trainer = instantiate(
        cfg.trainer,
        callbacks=[*own, *callbacks, settings_saver(cfg)],
        logger=[instantiate(node) for node in cfg.logger.values()],
    )
    return Parts(trainer, model, data)


def load_weights(cfg: DictConfig, model: LightningModule) -> None:
    """Take the weights from ``ckpt_path``, ``weights`` or ``pretraining``: the first that is given.

    The Trainer itself loads what is in ``ckpt_path``; here it is checked. The head is new where it is for other
    classes, and always after pretraining.
    """
    from recipes.app.checkpoints import check_optimizer_state, check_weights, load_backbone, read_checkpoint

    if cfg.ckpt_path is not None:
        checkpoint, name = read_checkpoint(cfg.ckpt_path, "ckpt_path"), f"ckpt_path={cfg.ckpt_path!r}"
        check_weights(checkpoint, model, name)
        check_optimizer_state(checkpoint, model.configure_optimizers(), name)
    elif cfg.weights is not None:
        new = load_backbone(read_checkpoint(cfg.weights, "weights"), model, f"weights={cfg.weights!r}")
        if new:
            log.info("weights: taken for the backbone; the head is for other classes, and new (%s)", ", ".join(new))
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

    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and Path(callback.best_model_path).is_file():
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


# How a command ends

# Set while this program, and not Hydra, explains mistakes; processes that it starts inherit it.
_EXPLAINING = "LR_RECIPES_EXPLAINS_MISTAKES"


def command_line() -> None:
    """Run ``main`` with the arguments of the command line, and explain mistakes in them."""
    typed, sys.argv[1:] = sys.argv[1:], with_settings_of_the_run(sys.argv[1:])
    if len(sys.argv) - 1 > len(typed) and is_first_process():
        print("Going on with the settings of the run:", *sys.argv[1 : len(sys.argv) - len(typed)])
    # Hydra reads overrides on one side of -m only.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda argument: argument not in ("-m", "--multirun"))
    if not wants_traceback():
        os.environ |= {"HYDRA_FULL_ERROR": "1", _EXPLAINING: "1"}  # Hydra then lets exceptions through
    try:
        main()
    except Mistake:
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell reports it
    except Exception as error:
        message = None if wants_traceback() else explain(error)
        if message is None:
            raise
        sys.exit(f"Error: {message}")


@contextmanager
def ended_well(folder: Path) -> Iterator[None]:
    """Explain a mistake instead of showing a traceback, and leave no folder of a run that never began to train."""
    new = is_new(folder, log=f"{HydraConfig.get().job.name}.log")
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # the second is how Lightning ends a run after Ctrl-C
        log.error(how_to_go_on(folder))
        if new:
            discard(folder)
        raise
    except Exception as error:
        message = None if wants_traceback() else explain(error)
        new = new and discard(folder)
        if message is None:
            raise
        if is_first_process():
            log.error("Error: %s%s", message, "" if new else "\n(HYDRA_FULL_ERROR=1 shows where it was found.)")
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            raise Mistake(message) from error  # the other jobs of the sweep still run
        sys.exit(1)


def wants_traceback() -> bool:
    """Whether the user asked for tracebacks, in Hydra's way."""
    return os.environ.get("HYDRA_FULL_ERROR") == "1" and _EXPLAINING not in os.environ


def is_first_process() -> bool:
    """Whether this process is the only one, or the first of several that train together."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


if __name__ == "__main__":
    command_line()
