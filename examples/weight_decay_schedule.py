"""A weight decay that follows a cosine, beside the LR: each number of a group can have a schedule of its own.

python weight_decay_schedule.py
"""

import torch
from lightning.pytorch import LightningModule, Trainer
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lr_recipes import LearningRateLogger, LearningRateScheduler, schedules


class Classifier(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images), labels)

    def configure_optimizers(self):
        matrices = [p for p in self.parameters() if p.ndim == 2]
        vectors = [p for p in self.parameters() if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": 0.1, "name": "matrices"},
            {"params": vectors, "weight_decay": 0.0, "name": "vectors"},  # stays at 0: a schedule multiplies
        ]
        return torch.optim.AdamW(groups, lr=3e-3)


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(labels))
    schedule = schedules.Hyperparameters(
        lr=schedules.Linear(warmup="10%"),
        weight_decay=schedules.Cosine(min_lr_ratio=0.1),  # of the 0.1 that the group was built with: down to 0.01
    )
    trainer = Trainer(
        max_epochs=4, accelerator="cpu", callbacks=[LearningRateScheduler(schedule), LearningRateLogger()]
    )
    trainer.fit(Classifier(), DataLoader(digits, batch_size=32, shuffle=True))


if __name__ == "__main__":
    main()
