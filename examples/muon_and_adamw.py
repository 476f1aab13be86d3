"""Muon for the hidden matrices, AdamW for the rest: two optimizers, stepped together, and a schedule by group for both.

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
        hidden, norm, _, head = self.net
        # torch's Muon takes matrices only, and is not meant for the last layer.
        muon = torch.optim.Muon([{"params": [hidden.weight], "name": "hidden"}], lr=0.02, weight_decay=0.01)
        groups = [
            {"params": [head.weight], "name": "head"},
            {"params": [hidden.bias, norm.weight, norm.bias, head.bias], "weight_decay": 0.0, "name": "vectors"},
        ]
        return [muon, torch.optim.AdamW(groups, lr=3e-3)]


def main() -> None:
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(labels))
    loader = DataLoader(digits, batch_size=32, shuffle=True)
    scheduler = LearningRateScheduler(
        schedules.ByGroup(
            groups={"hidden": schedules.WarmupStableDecay(decay="40%")},
            default=schedules.Cosine(warmup="10%"),
        ),
        total_steps=4 * len(loader),  # of each of the two: in manual optimization only the module knows
    )
    trainer = Trainer(max_epochs=4, accelerator="cpu", callbacks=[scheduler, LearningRateLogger()])
    trainer.fit(Classifier(), loader)


if __name__ == "__main__":
    main()
