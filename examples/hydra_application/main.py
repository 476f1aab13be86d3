"""A Hydra application of your own: the package brings the groups `schedule` and `callbacks`, this file knows neither.

python hydra_application/main.py
python hydra_application/main.py schedule=one_cycle schedule.warmup='1 epoch'
"""

import hydra
import torch
from lightning.pytorch import LightningModule
from omegaconf import DictConfig
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Classifier(LightningModule):
    def __init__(self, optimizer) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images), labels)

    def configure_optimizers(self):
        return self.optimizer(self.parameters())


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(labels))
    callbacks = list(hydra.utils.instantiate(cfg.callbacks).values())
    trainer = hydra.utils.instantiate(cfg.trainer, callbacks=callbacks)
    model = Classifier(hydra.utils.instantiate(cfg.optimizer))
    trainer.fit(model, DataLoader(digits, batch_size=32, shuffle=True))


if __name__ == "__main__":
    main()
