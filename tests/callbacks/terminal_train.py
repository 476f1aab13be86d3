"""`python train.py`, for test_telling.py to run in a terminal, with each bar.

Nothing heavy is imported here: as in a process of its own, logging is set up before Lightning is imported.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from tests.callbacks.terminal import begin

TRAIN = Path(__file__).parents[2] / "train.py"
SMALL = ["trainer=cpu", "trainer.limit_train_batches=7", "trainer.log_every_n_steps=5", "trainer.max_epochs=2"]
CHOICES = {
    "rich": [],
    "tqdm": ["+callbacks.bar._target_=lightning.pytorch.callbacks.TQDMProgressBar"],
    "none": ["trainer.enable_progress_bar=false"],
}

if __name__ == "__main__":
    for bar, chosen in CHOICES.items():
        begin(bar)
        sys.argv[1:] = [*SMALL, "model.width=4", f"hydra.run.dir={bar}", *chosen]
        runpy.run_path(str(TRAIN), run_name="__main__")
