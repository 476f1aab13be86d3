"""The command: `make reproduce`, or `python -m recipes.reproduction`; `--help` lists its settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig, ListConfig, OmegaConf

from recipes.app.config import CONF, check_flags, readable
from recipes.app.messages import explain
from recipes.reproduction.driver import Stopped, reproduce
from recipes.reproduction.experiment import Experiment
from recipes.reproduction.rows import rows_of

SEEDS, TUNING_SEEDS = 5, 2  # of the short form, which takes 20 minutes


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="reproduce")
def main(cfg: DictConfig) -> None:
    """Check what was typed, make the runs that are missing, and write the page."""
    folder = Path(cfg.folder or default_folder(cfg))
    page = Path(cfg.page or folder.parent / "README.md")
    experiments, others = experiments_of(cfg), others_of(cfg)
    part = ("rows=", "seeds=", "tuning_seeds=") if others else ()
    reproduce(
        experiments,
        folder,
        page,
        workers=workers_of(cfg),
        command=command_of(),
        quick=bool(cfg.quick),
        others=others,
        whole=command_of(leave_out=part),
    )


def default_folder(cfg: DictConfig) -> Path:
    """Return where results go that were given no folder; those of the long form are committed."""
    for name in ("quick", "published"):
        if cfg[name]:
            return CONF.parent / "runs" / name / "results"
    return CONF.parent / "recipes" / "results" if cfg.long else CONF.parent / "runs" / "reproduced" / "results"


def experiments_of(cfg: DictConfig) -> list[Experiment]:
    """Return the experiments of the rows that were asked for.

    Raises:
        ValueError: a value is impossible; says what is.
    """
    names = [str(name) for name in cfg.rows] if isinstance(cfg.rows, ListConfig) else [str(cfg.rows)]
    for key, least in (("seeds", 2), ("tuning_seeds", 1)):
        value = cfg[key]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            why = "; an interval needs two" if key == "seeds" else ""
            raise ValueError(f"{key}={value}: must be a whole number, at least {least}{why}")
    rows = rows_of(names)
    if cfg.published or (names == ["all"] and not cfg.long):
        rows = [row for row in rows if row.part == "table"]
    if cfg.published:
        rows = [row.published() for row in rows]
    if cfg.quick:
        rows = [row.quick() for row in rows]
    more = (f"trainer={cfg.trainer}", *(str(one) for one in cfg.overrides))
    seeds, tuning_seeds = cfg.seeds, cfg.tuning_seeds
    if not (cfg.long or cfg.quick or cfg.published):
        seeds, tuning_seeds = seeds or SEEDS, tuning_seeds or TUNING_SEEDS
        rows = [row.plain() for row in rows]
    return [Experiment(row.with_seeds(seeds, tuning_seeds), grow=not cfg.quick, more=more) for row in rows]


def others_of(cfg: DictConfig) -> list[Experiment]:
    """Return the experiments of the rows that were not asked for, as a plain ``make reproduce`` would make them."""
    asked = {one.row.name for one in experiments_of(cfg)}
    plain = OmegaConf.merge(cfg, {"rows": "all", "seeds": None, "tuning_seeds": None})
    assert isinstance(plain, DictConfig)
    return [one for one in experiments_of(plain) if one.row.name not in asked]


def workers_of(cfg: DictConfig) -> int:
    """Return how many processes work side by side."""
    if cfg.workers == "auto":
        return 1 if cfg.trainer == "gpu" else os.cpu_count() or 1
    if isinstance(cfg.workers, bool) or not isinstance(cfg.workers, int) or cfg.workers < 1:
        raise ValueError(f"workers={cfg.workers}: must be auto, or a whole number, at least 1")
    return cfg.workers


def command_of(leave_out: tuple[str, ...] = ()) -> str:
    """Return what was typed, in the form of `make`, but for keys that say where and not what."""
    from hydra.core.hydra_config import HydraConfig

    hidden = ("folder=", "page=", "workers=", *leave_out)
    typed = [one for one in HydraConfig.get().overrides.task if not one.startswith(hidden)]
    arguments = " ".join(typed)
    if not arguments:
        return "make reproduce"
    return f'make reproduce ARGS="{arguments}"' if " " in arguments else f"make reproduce ARGS={arguments}"


def from_command_line() -> None:
    """Run ``main``, and explain mistakes in what was typed."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then lets exceptions through
    try:
        sys.argv[1:] = readable(sys.argv[1:])
        check_flags(sys.argv[1:])
        main()
    except Stopped as stopped:
        sys.exit(str(stopped))
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        print(f"Error: {message}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    from_command_line()
