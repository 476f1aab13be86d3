"""The config tree: where it is, how it is composed without a command line, and which command lines Hydra can read.

Imported before anything heavy, by `python train.py --help` too: no torch, no lightning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from recipes.app.batch_scaling import scaled_lr_of
from recipes.app.run_folder import run_folder, sweep_subfolder

CONF = Path(__file__).parents[2] / "conf"


def _scaled_lr(*, _root_: DictConfig) -> float:
    return scaled_lr_of(_root_)  # OmegaConf hands over the whole config under this very name


# What `${...:}` in the tree may call; importing this module is enough.
OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
OmegaConf.register_new_resolver("sweep_subfolder", sweep_subfolder, replace=True)
OmegaConf.register_new_resolver("scaled_lr", _scaled_lr, replace=True)


def composed(*overrides: str) -> DictConfig:
    """Return the config that ``python train.py`` with these overrides would be given.

    Raises:
        HydraException: an override names what does not exist.
    """
    with _no_hydra_running(), initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


@contextmanager
def _no_hydra_running() -> Iterator[None]:
    """Put away the Hydra of a program that composes while it runs: there can be only one at a time."""
    running = GlobalHydra.instance()
    put_away, running.hydra = running.hydra, None
    try:
        yield
    finally:
        # asked for again: `initialize_config_dir` leaves a copy behind in place of the object that was there before
        GlobalHydra.instance().hydra = put_away


def readable(arguments: Sequence[str]) -> list[str]:
    """Return a command line in an order that Hydra can read: it takes overrides on one side of ``-m`` only.

    Example:
        >>> readable(["seed=1,2", "-m", "schedule=step"])
        ['-m', 'seed=1,2', 'schedule=step']
    """
    return sorted(arguments, key=lambda argument: argument not in ("-m", "--multirun"))
