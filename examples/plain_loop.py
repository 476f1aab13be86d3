"""A loop of your own: gradients are accumulated, the run stops half way, and goes on from its checkpoint.

python plain_loop.py
"""

import math
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lr_recipes import lr_scheduler
from lr_recipes.adapters.recording import Recording

EPOCHS, ACCUMULATE, CHECKPOINT = 4, 2, Path("checkpoint.pt")


def train(until: int) -> None:
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(labels))
    loader = DataLoader(digits, batch_size=32, shuffle=True)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)  # the peak of the schedule

    updates = math.ceil(len(loader) / ACCUMULATE)  # of an epoch: the last window is one, however short it is
    scheduler = lr_scheduler.Cosine(optimizer, total_steps=EPOCHS * updates, steps_per_epoch=updates, warmup="1 epoch")
    recording = Recording(scheduler)  # what each update uses, in lr.csv
    parts = {"net": net, "optimizer": optimizer, "scheduler": scheduler, "recording": recording}
    done = 0
    if CHECKPOINT.exists():
        checkpoint = torch.load(CHECKPOINT, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(checkpoint[name])
        done = checkpoint["epoch"] + 1

    with recording:
        for epoch in range(done, until):
            for index, (images, labels) in enumerate(loader, start=1):
                nn.functional.cross_entropy(net(images), labels).backward()
                if index % ACCUMULATE == 0 or index == len(loader):
                    optimizer.step()  # the schedule goes on with it
                    optimizer.zero_grad()
            torch.save({"epoch": epoch, **{name: part.state_dict() for name, part in parts.items()}}, CHECKPOINT)
    print(recording.close())


if __name__ == "__main__":
    train(until=2)
    train(until=EPOCHS)
    CHECKPOINT.unlink()
