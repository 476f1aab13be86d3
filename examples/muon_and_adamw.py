"""Muon for the matrices, AdamW for the rest: two optimizers that are stepped together, each with its own peak LR.

python muon_and_adamw.py
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
        self.automatic_optimization = False  # Lightning steps one optimizer by itself, and not two
        self.net = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, batch_idx):
        images, labels = batch
        muon, adamw = self.optimizers()
        muon.zero_grad()
        adamw.zero_grad()
        self.manual_backward(nn.functional.cross_entropy(self.net(images), labels))
        muon.step()
        adamw.step()

    def configure_optimizers(self):
        hidden = [self.net[0].weight]  # torch's Muon takes matrices only, and is not meant for the last layer
        rest = [p for p in self.parameters() if p is not self.net[0].weight]
        return [torch.optim.Muon(hidden, lr=0.02, weight_decay=0.01), torch.optim.AdamW(rest, lr=3e-3)]


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(labels))
    loader = DataLoader(digits, batch_size=32, shuffle=True)
    scheduler = LearningRateScheduler(
        {"Muon": schedules.WarmupStableDecay(decay="40%"), "AdamW": schedules.Cosine(warmup="10%")},
        total_steps=4 * len(loader),  # of each of them: in manual optimization only the module knows
    )
    trainer = Trainer(max_epochs=4, accelerator="cpu", callbacks=[scheduler, LearningRateLogger()])
    trainer.fit(Classifier(), loader)


if __name__ == "__main__":
    main()
