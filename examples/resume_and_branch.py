"""A long run at a constant LR: stopped and resumed, and a decay branched off it, to have a finished model early.

python resume_and_branch.py
"""

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
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
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def train(folder: str, epochs: int, ckpt_path: str | None = None, resume: str = "error") -> None:
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(labels))
    schedule = schedules.WarmupStableDecay(warmup="20 steps", decay="1 epoch")
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[
            LearningRateScheduler(schedule, resume=resume),
            LearningRateLogger(dirpath=folder),
            ModelCheckpoint(folder, filename="{epoch}", every_n_epochs=3, save_top_k=-1),
        ],
    )
    trainer.fit(Classifier(), DataLoader(digits, batch_size=32, shuffle=True), ckpt_path=ckpt_path)


def main() -> None:
    train("long", epochs=6)
    # As after a crash: the same settings go on in the same folder, and lr.csv still has every update once.
    train("long", epochs=6, ckpt_path="long/epoch=2.ckpt")
    # Another length is another plan, so it is asked for by name: the decay begins at once, and ends with epoch 4.
    train("branch", epochs=4, ckpt_path="long/epoch=2.ckpt", resume="config")


if __name__ == "__main__":
    main()
