"""Branches a decay from a stable checkpoint, with two real runs: `python -m benchmarks.branch PICTURE`.

The first run has a long warmup-stable-decay schedule and is stopped in its stable stretch; the second goes on from its
checkpoint with a shorter run in mind, so that its decay begins soon.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from recipes.app.config import composed
from recipes.app.training import run

SETTINGS = [
    "schedule=warmup_stable_decay",
    "schedule.warmup=50",  # in steps: a share of the long run would be longer than the short one
    "trainer.max_epochs=-1",
    "trainer.enable_progress_bar=false",
    "logger=none",
]
LONG, STOPPED, SHORT = 100_000, 390, 600


class StopAt(Callback):
    """Ends the run after some updates, as somebody at the keyboard would."""

    def __init__(self, update: int) -> None:
        self.update = update

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.update:
            trainer.should_stop = True


def train(folder: Path, *settings: str, callbacks: list[Callback] | None = None) -> None:
    """Train as `train.py` does in ``folder``."""
    cfg = composed(*SETTINGS, f"output_dir={folder}", *settings)
    run(cfg, callbacks or [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, help="where to keep the branch's lr.png")
    target = parser.parse_args().picture
    with tempfile.TemporaryDirectory() as place:
        stable, branch = Path(place, "stable"), Path(place, "branch")
        train(stable, f"trainer.max_steps={LONG}", callbacks=[StopAt(STOPPED)])
        last = stable / "checkpoints" / "last.ckpt"
        train(branch, f"trainer.max_steps={SHORT}", f"ckpt_path={last}", "resume=config")
        shutil.copy(branch / "lr.png", target)


if __name__ == "__main__":
    main()
