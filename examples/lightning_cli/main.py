"""LightningCLI: the schedule is chosen in the YAML file, or typed; the program has no line for it.

python lightning_cli/main.py fit --config lightning_cli/config.yaml
python lightning_cli/main.py fit --config lightning_cli/config.yaml --trainer.callbacks.schedule=OneCycle
"""

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LightningCLI
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Classifier(LightningModule):
    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images), labels)

    def train_dataloader(self):
        images, labels = load_digits(return_X_y=True)
        digits = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(labels))
        return DataLoader(digits, batch_size=32, shuffle=True)


if __name__ == "__main__":
    LightningCLI(Classifier)
