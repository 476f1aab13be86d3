"""A GAN in manual optimization: each optimizer has its own schedule, counted in its own updates.

python several_optimizers.py
"""

import torch
from lightning.pytorch import LightningModule, Trainer
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader

from lr_recipes import LearningRateLogger, LearningRateScheduler, schedules


class GAN(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.Sigmoid())
        self.discriminator = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))

    def training_step(self, images, batch_idx):
        generator, discriminator = self.optimizers()
        fakes = self.generator(torch.randn(len(images), 16))
        judged = self.discriminator(torch.cat([images, fakes.detach()]))
        real = torch.cat([torch.ones(len(images), 1), torch.zeros(len(images), 1)])
        self.update(discriminator, binary_cross_entropy_with_logits(judged, real))
        if batch_idx % 2 == 1:  # the generator is updated half as often, and its schedule knows
            self.update(generator, -self.discriminator(fakes).mean())

    def update(self, optimizer, loss) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def configure_optimizers(self):
        return [
            torch.optim.Adam(self.generator.parameters(), lr=2e-3),
            torch.optim.RMSprop(self.discriminator.parameters(), lr=1e-3),
        ]


def main() -> None:
    images, _ = load_digits(return_X_y=True)
    loader = DataLoader(torch.tensor(images).float() / 16, batch_size=32, shuffle=True)
    epochs, batches = 4, len(loader)
    scheduler = LearningRateScheduler(
        {"Adam": schedules.Cosine(warmup="10%"), "RMSprop": schedules.Linear(min_lr_ratio=0.1)},
        total_steps={"Adam": epochs * (batches // 2), "RMSprop": epochs * batches},  # only the module knows
    )
    trainer = Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[scheduler, LearningRateLogger()])
    trainer.fit(GAN(), loader)


if __name__ == "__main__":
    main()
