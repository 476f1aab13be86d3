"""Fabric: a schedule for the optimizer that Fabric has set up, saved and loaded with the rest.

python fabric_loop.py
"""

from pathlib import Path

import torch
from lightning.fabric import Fabric
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lr_recipes import lr_scheduler
from lr_recipes.adapters.recording import Recording

EPOCHS, CHECKPOINT = 4, Path("checkpoint.ckpt")


def train(until: int) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    fabric.seed_everything(0, verbose=False)
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(labels))
    loader = fabric.setup_dataloaders(DataLoader(digits, batch_size=32, shuffle=True))
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    net, optimizer = fabric.setup(net, torch.optim.AdamW(net.parameters(), lr=3e-3))  # lr is the peak of the schedule

    updates = len(loader)
    scheduler = lr_scheduler.Cosine(optimizer, total_steps=EPOCHS * updates, steps_per_epoch=updates, warmup="1 epoch")
    recording = Recording(scheduler)  # what each update uses, in lr.csv; of several processes, only on the first
    state = {"net": net, "optimizer": optimizer, "scheduler": scheduler, "recording": recording, "epoch": 0}
    if CHECKPOINT.exists():
        fabric.load(CHECKPOINT, state)

    with recording:
        for epoch in range(state["epoch"], until):
            for images, labels in loader:
                fabric.backward(nn.functional.cross_entropy(net(images), labels))
                optimizer.step()  # the schedule goes on with it
                optimizer.zero_grad()
            fabric.save(CHECKPOINT, {**state, "epoch": epoch + 1})
    print(recording.close())


if __name__ == "__main__":
    train(until=2)
    train(until=EPOCHS)
    CHECKPOINT.unlink()
