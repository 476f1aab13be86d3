"""Accelerate: the loop that its documentation shows, with a schedule that is right for any number of processes.

python accelerate_loop.py
"""

import math

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lr_recipes import lr_scheduler
from lr_recipes.adapters.recording import Recording

EPOCHS, ACCUMULATE = 4, 2


def main() -> None:
    accelerator = Accelerator(gradient_accumulation_steps=ACCUMULATE, cpu=True)
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(labels))
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)  # the peak of the schedule
    loader = DataLoader(digits, batch_size=32, shuffle=True)
    net, optimizer, loader = accelerator.prepare(net, optimizer, loader)

    # Now the loader has the length that it has for each process.
    updates = math.ceil(len(loader) / ACCUMULATE)
    scheduler = lr_scheduler.Cosine(optimizer, total_steps=EPOCHS * updates, steps_per_epoch=updates, warmup="1 epoch")
    recording = Recording(scheduler) if accelerator.is_main_process else None
    scheduler = accelerator.prepare(scheduler)  # for save_state and load_state

    for epoch in range(EPOCHS):
        for images, labels in loader:
            with accelerator.accumulate(net):
                accelerator.backward(nn.functional.cross_entropy(net(images), labels))
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
        accelerator.print(f"epoch {epoch}: the next update uses LR {scheduler.get_last_lr()[0]:.6f}")
    if recording is not None:
        print(recording.close())


if __name__ == "__main__":
    main()
