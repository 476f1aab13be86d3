"""Warm up, keep the LR, and average the weights: what is validated and saved is their exponential moving average.

python averaged_weights.py
"""

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from lr_recipes import LearningRateLogger, LearningRateScheduler, schedules


class Classifier(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images), labels)

    def validation_step(self, batch, batch_idx):  # on the average: the callback has put it into the module
        self.log("val_loss", self.training_step(batch, batch_idx), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(labels))
    train, val = random_split(digits, [1600, 197])
    trainer = Trainer(
        max_epochs=4,
        accelerator="cpu",
        callbacks=[
            LearningRateScheduler(schedules.Fixed(warmup="5%")),  # no decay: the average does its work
            EMAWeightAveraging(decay=0.95),  # over some 1 / (1 - 0.95) = 20 updates, a tenth of this run
            LearningRateLogger(),
            ModelCheckpoint(monitor="val_loss"),
        ],
    )
    trainer.fit(Classifier(), DataLoader(train, batch_size=32, shuffle=True), DataLoader(val, batch_size=197))


if __name__ == "__main__":
    main()
