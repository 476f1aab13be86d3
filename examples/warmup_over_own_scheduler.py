"""Keep the scheduler that your module has, and only warm it up: one callback, nothing changes in the module.

python warmup_over_own_scheduler.py
"""

import torch
from lightning.pytorch import LightningModule, Trainer
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

from lr_recipes import LearningRateLogger, LearningRateWarmup


class Classifier(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images), labels)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return [optimizer], [StepLR(optimizer, step_size=3, gamma=0.1)]


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(labels))
    trainer = Trainer(
        max_epochs=5,
        accelerator="cpu",
        callbacks=[LearningRateWarmup("100 steps"), LearningRateLogger()],
    )
    trainer.fit(Classifier(), DataLoader(digits, batch_size=32, shuffle=True))


if __name__ == "__main__":
    main()
