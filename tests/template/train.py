"""A stranger's application in the manner of lightning-hydra-template: it knows nothing of lr_recipes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hydra
import torch
from hydra.utils import instantiate
from lightning.pytorch import LightningModule, Trainer
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Net(LightningModule):
    def __init__(self, optimizer: Callable[..., Any], scheduler: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.net = nn.Linear(1, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.net(batch[0]).square().mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self.hparams.optimizer(params=self.parameters())
        if self.hparams.scheduler is None:
            return {"optimizer": optimizer}
        scheduler = {"scheduler": self.hparams.scheduler(optimizer=optimizer), "interval": "epoch", "frequency": 1}
        return {"optimizer": optimizer, "lr_scheduler": {**scheduler, "monitor": "train/loss"}}


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(cfg: DictConfig) -> None:
    callbacks = [instantiate(node) for node in cfg.callbacks.values() if "_target_" in node]
    trainer: Trainer = instantiate(cfg.trainer, callbacks=callbacks)
    trainer.fit(instantiate(cfg.model), DataLoader(TensorDataset(torch.ones(8, 1))))


if __name__ == "__main__":
    main()
