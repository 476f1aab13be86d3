"""The config tree: where it is, how it is composed without a command line, and which command lines Hydra can read.

Imported before anything heavy, by `python train.py --help` too: no torch, no lightning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.main import get_args_parser  # type: ignore[attr-defined]
from omegaconf import DictConfig, OmegaConf

from lr_recipes.checks import brief
from recipes.app.batch_scaling import scaled_lr_of
from recipes.app.quoting import as_hydra_reads, unquoted
from recipes.app.run_folder import run_folder, sweep_subfolder

CONF = Path(__file__).parents[2] / "conf"
_SWEEP = ("-m", "--multirun")
_FOLDER = "output_dir"


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
    """Return a command line as Hydra can read it: with quotes where they are needed, and ``-m`` before overrides.

    Raises:
        ValueError: an argument cannot be written down.

    Example:
        >>> readable(["seed=1,2", "-m", "schedule=step"])
        ['-m', 'seed=1,2', 'schedule=step']
        >>> readable(["output_dir=my runs (1)"])
        ['output_dir="my runs (1)"']
    """
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:  # Python's stand-ins for bytes that are no UTF-8
            raise ValueError(
                f"{brief(argument)} has bytes that are no UTF-8, and could not be written down: give the file another "
                "name"
            ) from error
    read = [as_hydra_reads(argument, is_sweep(arguments), _is_group) for argument in arguments]
    return sorted(read, key=lambda argument: argument not in _SWEEP)


def _is_group(key: str) -> bool:
    return "/" in key or (CONF / key.partition("@")[0]).is_dir()


def is_sweep(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for several jobs."""
    return any(argument in (*_SWEEP, "hydra.mode=MULTIRUN") for argument in arguments)


def check_flags(arguments: Sequence[str]) -> None:
    """Refuse flags that Hydra does not know: it answers with all of those that it does.

    Raises:
        ValueError: says which.
    """
    parser = get_args_parser()

    def refuse(message: str) -> None:
        said = " ".join(message.split())
        raise ValueError(f"{said}: --help shows what can be typed, and --hydra-help Hydra's own flags")

    parser.error = refuse  # type: ignore[assignment, method-assign]
    parser.parse_args(list(arguments))


def in_one_folder(arguments: Sequence[str]) -> list[str]:
    """Return a command line that gives ``output_dir`` to Hydra: its log goes there too, and the jobs of a sweep.

    ``output_dir`` of the config follows from Hydra's folder, so nothing of the run is left elsewhere.

    Args:
        arguments: as `readable` returns them.

    Raises:
        ValueError: a folder is given that is none.

    Example:
        >>> in_one_folder(["output_dir=mine", "seed=2"]), in_one_folder(["-m", "output_dir=mine"])
        (['hydra.run.dir=mine', 'seed=2'], ['-m', 'hydra.sweep.dir=mine'])
    """
    folder = "hydra.sweep.dir" if is_sweep(arguments) else "hydra.run.dir"
    found = []
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if equals and key.lstrip("+") in (_FOLDER, "hydra.run.dir", "hydra.sweep.dir"):
            if unquoted(text).strip().lower() in ("", "null"):
                raise ValueError(f"{brief(argument)}: must be a folder; leave it out for a new one in runs/")
            if key.lstrip("+") == _FOLDER and "${hydra:" not in text:  # else it is a folder within Hydra's
                key = folder
        found.append(f"{key}{equals}{text}")
    return found
