"""The average of the weights of a run of train.py: what is validated, saved and tested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import LambdaCallback

from recipes.app import config
from recipes.app.training import build, measure

OPTIONS = [
    "model=mlp", "model.width=8", "data.train_size=64", "data.batch_size=8", "trainer=cpu", "trainer.max_epochs=2",
    "trainer.num_sanity_val_steps=0", "trainer.enable_progress_bar=false", "logger=none", "seed=1",
]  # fmt: skip


@pytest.mark.parametrize("checkpoint", [",checkpoint", ""], ids=["best", "last"])
def test_what_train_py_validates_and_tests_is_the_average(checkpoint: str, tmp_path: Path) -> None:
    averaged = f"callbacks=[learning_rate_scheduler,weight_averaging{checkpoint}]"
    cfg = config.composed(f"output_dir={tmp_path}", averaged, *OPTIONS)
    cfg.trainer.enable_checkpointing = bool(checkpoint)
    seen: list[Any] = []

    def see(trainer: Any, module: Any, *_: Any) -> None:
        seen.append([p.detach().clone() for p in module.parameters()])

    parts = build(cfg, [LambdaCallback(on_train_batch_end=see)])
    parts.trainer.fit(parts.model, datamodule=parts.data)
    found = measure(parts)
    assert len(seen) == 16
    assert found["val_loss"] == pytest.approx(parts.trainer.callback_metrics.get("val_loss", found["val_loss"]))

    average = seen[0]  # the first update is taken whole
    for now in seen[1:]:
        average = [old + 0.01 * (new - old) for old, new in zip(average, now, strict=True)]
    by_hand = instantiate(cfg.model, optimizer=None, task=parts.data.task).eval()
    for p, value in zip(by_hand.parameters(), average, strict=True):
        p.data.copy_(value)
    for name, loader in (("val", parts.data.val_dataloader()), ("test", parts.data.test_dataloader())):
        images, labels = (torch.cat(part) for part in zip(*loader, strict=True))
        assert found[f"{name}_loss"] == pytest.approx(torch.nn.functional.cross_entropy(by_hand(images), labels).item())
