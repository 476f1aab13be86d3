"""Optuna looks for the peak LR and the length of the warmup, and ends a trial early that is worse than the others.

pip install optuna
python optuna_sweep.py
"""

import optuna
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from lr_recipes import LearningRateScheduler, schedules


class Classifier(LightningModule):
    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images), labels)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


class Pruning(Callback):
    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial

    def on_validation_end(self, trainer, pl_module):
        self.trial.report(trainer.callback_metrics["val_loss"].item(), trainer.current_epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def objective(trial: optuna.Trial) -> float:
    seed_everything(1)
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images).float() / 16, torch.tensor(labels))
    train, val = random_split(digits, [0.8, 0.2])
    lr = trial.suggest_float("lr", 1e-2, 1.0, log=True)
    schedule = schedules.Cosine(warmup=f"{trial.suggest_int('warmup', 0, 30, step=5)}%")
    callbacks = [LearningRateScheduler(schedule), Pruning(trial)]
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(max_epochs=3, accelerator="cpu", callbacks=callbacks, num_sanity_val_steps=0, **quiet)
    trainer.fit(Classifier(lr), DataLoader(train, batch_size=32, shuffle=True), DataLoader(val, batch_size=360))
    return trainer.callback_metrics["val_loss"].item()


def main() -> None:
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1), pruner=pruner)
    study.optimize(objective, n_trials=6)
    pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials)
    print(f"best of {len(study.trials)} trials, of which {pruned} ended early: val_loss={study.best_value:.3f} with")
    print(f"lr={study.best_params['lr']:.2g} and schedules.Cosine(warmup='{study.best_params['warmup']}%')")


if __name__ == "__main__":
    main()
