"""`python train.py task=range_test`: which learning rates this model can be trained with, without training it."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from lr_recipes import range_test
from lr_recipes.checks import one_of
from lr_recipes.sweep.result import RULES, RangeTest
from recipes.app.run_folder import save_settings, shown
from recipes.app.threads import on_threads
from recipes.app.training import model_and_data
from recipes.app.validation import check

log = logging.getLogger(__name__)

_OF_THE_TASK = ("function", "objective", "rule")
# What belongs to a range test, or is what it found, and is not typed again for the run that follows.
_NOT_AGAIN = ("task", "optimizer.lr", "output_dir", "checkpoint_dir")


def run(cfg: DictConfig) -> dict[str, float]:
    """Make the range test, write its files into the run's folder, and say what to type next.

    Args:
        cfg: the composed config.

    Returns:
        ``suggested_lr``, if there is one.

    Raises:
        ValueError, OSError: the config asks for something impossible; says what and how to change it.
        KeyboardInterrupt: it was interrupted; what was measured until then is written.
    """
    check(cfg)
    rule, settings = settings_of(cfg)
    model, data = model_and_data(cfg)
    folder = Path(cfg.output_dir)
    # as a dict of arguments: range_test makes the Trainer
    trainer: dict[str, Any] = instantiate(cfg.trainer, _target_="builtins.dict", enable_model_summary=False)
    with on_threads(cfg.threads, model):
        result = range_test(model, data, dirpath=folder, **settings, **trainer)
    if model.trainer.is_global_zero:
        save_settings(cfg, folder)
        picture = folder / "range_test.png"
        drawn = f"\n\nDrawn: {shown(picture)}" if picture.exists() else ""
        log.info("%s%s\n%s", result.table, drawn, what_next(result, rule))
    if result.stop == "interrupted":
        raise KeyboardInterrupt
    suggested = result.suggestions.get(rule)
    return {} if suggested is None else {"suggested_lr": suggested}


def settings_of(cfg: DictConfig) -> tuple[str, dict[str, Any]]:
    """Return the rule to follow and the settings of the sweep; refuse what a range test cannot use."""
    task = OmegaConf.to_container(cfg.task, resolve=True)
    assert isinstance(task, dict)
    one_of("task.rule", task.get("rule"), RULES)
    if cfg.ckpt_path is not None:
        raise ValueError(
            f"ckpt_path={cfg.ckpt_path!r} goes on with a run, which a range test cannot do: give "
            f"weights={cfg.ckpt_path} to begin with trained weights"
        )
    return task["rule"], {str(key): value for key, value in task.items() if key not in _OF_THE_TASK}


def what_next(result: RangeTest, rule: str) -> str:
    """Return the command to type next, where there is a suggestion."""
    lr = result.suggestions.get(rule)
    if lr is None:
        return "Nothing to train with yet: change the range test, or look at the picture and choose an LR."
    typed = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    again = [one for one in typed if not _belongs(one.partition("=")[0].lstrip("+~"))]
    return f"Next:  python train.py {shlex.join([*again, f'optimizer.lr={lr:g}'])}"


def _belongs(key: str) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in _NOT_AGAIN)
