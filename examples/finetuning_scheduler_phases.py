"""The package finetuning-scheduler decides which layers train, and when; the callback here decides with which LR.

pip install finetuning-scheduler
python finetuning_scheduler_phases.py
"""

import torch
from finetuning_scheduler import FinetuningScheduler, FTSCheckpoint
from lightning.pytorch import LightningModule, Trainer
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lr_recipes import LearningRateLogger, LearningRateScheduler, schedules


class Classifier(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(64, 64)  # stands for a pretrained network
        self.head = nn.Linear(64, 10)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        loss = nn.functional.cross_entropy(self.head(torch.relu(self.body(images))), labels)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


PHASES = {
    0: {"params": ["head.*"], "max_transition_epoch": 2},
    1: {"params": ["body.*"], "max_transition_epoch": 4, "lr": 1e-3},  # the peak of the groups that join
}


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(labels))
    phases = FinetuningScheduler(ft_schedule=PHASES, epoch_transitions_only=True, restore_best=False)
    trainer = Trainer(
        max_epochs=4,
        accelerator="cpu",
        callbacks=[
            phases,
            FTSCheckpoint(monitor="loss"),
            LearningRateScheduler(schedules.Linear(warmup="10%")),
            LearningRateLogger(),
        ],
    )
    trainer.fit(Classifier(), DataLoader(digits, batch_size=32, shuffle=True))


if __name__ == "__main__":
    main()
