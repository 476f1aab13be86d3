"""Fine-tuning: the head first, then the body with a tenth of its LR. A group that joins late follows the same schedule.

python fine_tuning.py
"""

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BaseFinetuning
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lr_recipes import LearningRateLogger, LearningRateScheduler, schedules


class Classifier(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU())  # stands for a pretrained network
        self.head = nn.Linear(64, 10)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return nn.functional.cross_entropy(self.head(self.body(images)), labels)

    def configure_optimizers(self):
        return torch.optim.AdamW([{"params": self.head.parameters(), "name": "head"}], lr=1e-2)


class Unfreeze(BaseFinetuning):
    """Frees the body when epoch 1 begins. Its LR of 1e-3 is a peak: the schedule makes of it what the moment is due."""

    def freeze_before_training(self, pl_module):
        self.freeze(pl_module.body)

    def finetune_function(self, pl_module, epoch, optimizer):
        if epoch == 1:
            self.make_trainable(pl_module.body)
            optimizer.add_param_group({"params": pl_module.body.parameters(), "lr": 1e-3, "name": "body"})


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(labels))
    schedule = schedules.Linear(warmup="10%")
    trainer = Trainer(
        max_epochs=4,
        accelerator="cpu",
        callbacks=[Unfreeze(), LearningRateScheduler(schedule), LearningRateLogger()],
    )
    trainer.fit(Classifier(), DataLoader(digits, batch_size=32, shuffle=True))


if __name__ == "__main__":
    main()
