"""Train a model with a learning rate that is used exactly as it was planned: `python train.py --help`.

The front door: what was typed becomes a config (Hydra, ``conf/``), the task that the config names gets it, and a
mistake ends in one line. What a task does is in ``recipes/app``; nothing imports this file.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import DictConfig

    from recipes.app.config import CONF, check_flags, in_one_folder, readable
    from recipes.app.messages import explain
    from recipes.app.run_folder import (
        discard,
        how_to_go_on,
        is_first_process,
        is_new,
        settings_since,
        with_settings_of_the_run,
    )
    from recipes.app.sweep import end_of_sweep, noted
    from recipes.app.validation import task_of
except ModuleNotFoundError as error:  # whoever installed the package alone has not installed what this program needs
    if __name__ != "__main__":
        raise
    print(f"Error: {error.name} is not there: pip install '.[recipes]', in the folder of train.py", file=sys.stderr)
    sys.exit(2)

log = logging.getLogger(__name__)

# Said by libraries, right in general, and of no use to somebody who runs this program.
_NOISE = (
    ".isinstance.treespec, LeafSpec.. is deprecated",
    "The .* does not have many workers",  # a batch is one gather from memory
    "Checkpoint directory .* exists and is not empty",  # a run goes on in its folder
    "The dirpath has changed from",  # a branch has its own folder
)
# Set while this program, and not Hydra, explains mistakes; processes that it starts inherit it.
_EXPLAINING = "LR_RECIPES_EXPLAINS_MISTAKES"


# How the program ends, as others do: something was typed that cannot be, or a run that had begun has failed.
_TYPED_WRONG, _FAILED = 2, 1

_typed: list[str] = []  # after the name of the program; Hydra is given more


class Mistake(Exception):
    """A job of a sweep ended with a mistake that has already been explained; ``status`` is how the program ends."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, status)  # both, so that it can come from another process
        self.status = status


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Run one job: the function that the config's ``task`` names. Returns the metric that a sweeper sees."""
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)
    with noted(cfg) as job, ended_well(Path(HydraConfig.get().runtime.output_dir)):
        task = task_of(cfg)
        metrics: dict[str, float] = task(cfg)
        if job is not None:
            job.metrics = metrics
        return metrics.get(cfg.task.objective)


def command_line() -> None:
    """Run ``main`` with the arguments of the command line, and explain mistakes in them."""
    if not wants_traceback():
        # without it Hydra prints its own version of an error and exits; with it exceptions come through to here
        os.environ |= {"HYDRA_FULL_ERROR": "1", _EXPLAINING: "1"}
    _typed[:] = sys.argv[1:]
    try:
        typed = readable(_typed)
        check_flags(typed)
        whole, said = with_settings_of_the_run(typed)
        if said and is_first_process():
            print(said)
        sys.argv[1:] = readable(in_one_folder(whole))  # once more: the settings of the run stand before `-m`
        try:
            main()
        finally:
            end_of_sweep()
    except Mistake as mistake:
        sys.exit(mistake.status)
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT, as a shell reports it
    except Exception as error:
        message = None if wants_traceback() else explain(error)
        if message is None:
            raise
        print(f"Error: {message}", file=sys.stderr)
        sys.exit(_TYPED_WRONG)


@contextmanager
def ended_well(folder: Path) -> Iterator[None]:
    """Explain a mistake instead of showing a traceback, and leave no folder of a run that never began to train."""
    new = is_new(folder, log=f"{HydraConfig.get().job.name}.log")  # now: later the run's own files are in it
    before = settings_since(folder)
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as end:  # the second is how Lightning ends a run after Ctrl-C
        log.error(str(end) if isinstance(end, KeyboardInterrupt) and end.args else how_to_go_on(folder))
        if new:
            discard(folder)
        raise
    except Exception as error:
        message = None if wants_traceback() else explain(error, _typed)
        new = new and discard(folder)  # before the message, which says less where nothing is left to look at
        if message is None:
            raise  # not a mistake of the user's: the traceback is what helps
        if is_first_process():
            log.error("Error: %s%s", message, "" if new else "\n(HYDRA_FULL_ERROR=1 shows where it was found.)")
        status = _TYPED_WRONG if settings_since(folder) == before else _FAILED
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            raise Mistake(message, status) from error  # the other jobs of the sweep still run
        sys.exit(status)


def wants_traceback() -> bool:
    """Whether the user asked for tracebacks, in Hydra's way."""
    return os.environ.get("HYDRA_FULL_ERROR") == "1" and _EXPLAINING not in os.environ


if __name__ == "__main__":
    command_line()
