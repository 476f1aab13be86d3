"""After the first epoch it is said how often a module ticks its own schedulers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR

from tests.callbacks.harness import messages
from tests.callbacks.test_forecast import fit, record_lrs


class ByHand(LightningModule):
    """Steps at every ``every``-th batch, and ticks its scheduler at every batch or after the epoch."""

    def __init__(self, build: Any, every: int = 1, per_epoch: bool = False) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.build, self.every, self.per_epoch = build, every, per_epoch

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.manual_backward(self.weight.sum())
        if (batch_idx + 1) % self.every == 0:
            self.optimizers().step()  # type: ignore[union-attr]
            self.optimizers().zero_grad()  # type: ignore[union-attr]
        if not self.per_epoch:
            self.lr_schedulers().step()  # type: ignore[union-attr, call-arg]

    def on_train_epoch_end(self) -> None:
        if self.per_epoch:
            self.lr_schedulers().step()  # type: ignore[union-attr, call-arg]

    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), lr=0.1)
        return [optimizer], [self.build(optimizer)]


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize(
    ("module", "said"),
    [
        (
            ByHand(lambda o: CosineAnnealingLR(o, 6), every=4),
            "CosineAnnealingLR was ticked 8 times in the 2 updates of the first epoch; at this rate it is ticked 24 "
            "times by the end of the run, and was given T_max=6. Give it T_max=24, or tick it as often as it was made "
            "for",
        ),
        (
            ByHand(lambda o: CosineAnnealingLR(o, 24)),
            "CosineAnnealingLR was ticked 8 times in the 8 updates of the first epoch; at this rate it is at its end, "
            "T_max=24, when the run is",
        ),
        (
            ByHand(lambda o: LambdaLR(o, lambda n: 0.5**n), per_epoch=True),
            "LambdaLR was ticked once in the 8 updates of the first epoch",
        ),
    ],
)
def test_ticks_of_the_first_epoch(module: ByHand, said: str, tmp_path: Path, caplog: Any) -> None:
    with caplog.at_level("INFO"):
        fit(module=module, batches=8, max_epochs=3, callbacks=[record_lrs(tmp_path)])
    assert [line for line in messages(caplog).splitlines() if "first epoch" in line] == [said]
