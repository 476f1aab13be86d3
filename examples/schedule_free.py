"""A schedule-free optimizer: a warmup and no decay, and the weights in the right mode where they are used or saved.

python schedule_free.py
"""

import torch
from lightning.pytorch import LightningModule, Trainer
from schedulefree import AdamWScheduleFree
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from lr_recipes import LearningRateLogger, LearningRateScheduler, schedules


class ScheduleFree(LightningModule):
    """Gradients are taken at other weights than those that are validated and saved: the optimizer changes them over."""

    def on_train_batch_start(self, batch, batch_idx) -> None:  # each: a checkpoint may be saved after any
        for optimizer in self.trainer.optimizers:
            optimizer.train()

    def on_validation_start(self) -> None:
        for optimizer in self.trainer.optimizers:
            optimizer.eval()

    on_train_end = on_validation_start

    def on_save_checkpoint(self, checkpoint) -> None:
        self.on_validation_start()  # in place, so the weights that the checkpoint has already are changed over too
        if "optimizer_states" in checkpoint:  # these are not: they say in which mode the weights are
            checkpoint["optimizer_states"] = [optimizer.state_dict() for optimizer in self.trainer.optimizers]


class Classifier(ScheduleFree):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images), labels)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx), prog_bar=True)

    def configure_optimizers(self):
        return AdamWScheduleFree(self.parameters(), lr=1e-2)  # without warmup_steps: the schedule has the warmup


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(labels))
    train, val = random_split(digits, [1600, 197])
    callbacks = [LearningRateScheduler(schedules.Fixed(warmup="5%")), LearningRateLogger()]
    trainer = Trainer(max_epochs=4, accelerator="cpu", callbacks=callbacks)
    trainer.fit(Classifier(), DataLoader(train, batch_size=32, shuffle=True), DataLoader(val, batch_size=197))


if __name__ == "__main__":
    main()
