"""Which peak? A range test sweeps the LR first, and the schedule then has the peak that it found, in one `fit`.

python range_test_then_train.py
"""

import torch
from lightning.pytorch import LightningModule, Trainer
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lr_recipes import LearningRateLogger, LearningRateRangeTest, LearningRateScheduler, schedules


class Classifier(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3, momentum=0.9)  # the range test finds a better one


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(labels))
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        callbacks=[
            LearningRateRangeTest(),
            LearningRateScheduler(schedules.Cosine(warmup="5%")),
            LearningRateLogger(),
        ],
    )
    trainer.fit(Classifier(), DataLoader(digits, batch_size=32, shuffle=True))


if __name__ == "__main__":
    main()
