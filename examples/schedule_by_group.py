"""Fine-tuning with another schedule for the backbone than for the head: the backbone waits, and is warmed up longer.

python schedule_by_group.py
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
        self.backbone = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.head = nn.Linear(64, 10)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return nn.functional.cross_entropy(self.head(self.backbone(images)), labels)

    def configure_optimizers(self):
        groups = [
            {"params": self.backbone.parameters(), "lr": 1e-3, "name": "backbone"},
            {"params": self.head.parameters(), "lr": 1e-2, "name": "head"},
        ]
        return torch.optim.AdamW(groups)


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(labels))
    schedule = schedules.ByGroup(
        groups={"backbone": schedules.Cosine(warmup="1 epoch")},
        default=schedules.Linear(warmup="5%"),  # of all other groups; without it they keep their LR
    )
    trainer = Trainer(
        max_epochs=4, accelerator="cpu", callbacks=[LearningRateScheduler(schedule), LearningRateLogger()]
    )
    trainer.fit(Classifier(), DataLoader(digits, batch_size=32, shuffle=True))


if __name__ == "__main__":
    main()
