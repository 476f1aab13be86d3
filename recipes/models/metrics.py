"""Which training metrics are worth computing: those that somebody gets to see."""

from __future__ import annotations

from lightning.pytorch import LightningModule


def is_written(module: LightningModule) -> bool:
    """Return whether the Trainer writes the metrics of this update: every ``log_every_n_steps`` updates.

    Lightning keeps what ``self.log`` gets at every update and writes it only then; computing and handing over metrics
    that nobody sees costs more time than all else that Lightning does at an update
    (``python -m benchmarks.lightning_overhead``). Without a Trainer nobody decides, and they are computed.
    """
    try:
        trainer = module.trainer
    except RuntimeError:  # Lightning's word for a module that nobody has given to a Trainer
        return True
    # `global_step` counts completed updates, so it is n during update n (from 0); Lightning writes after update n when
    # n + 1 is a multiple. With accumulation all batches of such an update count
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return every > 0 and (trainer.global_step + 1) % every == 0
