"""transformers: a Trainer follows a schedule by one call, is interrupted, and goes on from its checkpoint.

python transformers_trainer.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from transformers import Trainer, TrainingArguments, set_seed

from lr_recipes import schedules
from lr_recipes.adapters.transformers import scheduled


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, pixels, labels):
        logits = self.net(pixels)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def trainer_of(epochs: int) -> Trainer:
    set_seed(0)
    images, labels = load_digits(return_X_y=True)
    pixels = torch.tensor(images).float() / 16
    digits = [{"pixels": image, "labels": label} for image, label in zip(pixels, labels, strict=True)]
    args = TrainingArguments(
        output_dir="trained",
        num_train_epochs=epochs,
        per_device_train_batch_size=32,
        gradient_accumulation_steps=2,
        learning_rate=3e-3,  # the peak of the schedule
        save_strategy="epoch",
        logging_steps=29,
        report_to=[],
        use_cpu=True,
    )
    return Trainer(Classifier(), args, train_dataset=digits)


def main() -> None:
    schedule = schedules.Cosine(warmup="1 epoch", min_lr_ratio=0.01)
    scheduled(trainer_of(epochs=3), schedule).train()
    # One epoch more, which is another curve: "config" follows it from here on. By default it stops, and shows both.
    scheduled(trainer_of(epochs=4), schedule, resume="config").train(resume_from_checkpoint=True)


if __name__ == "__main__":
    main()
