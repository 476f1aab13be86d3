"""Changes the weights over for a schedule-free optimizer, which trains others than those that are validated."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule


class WithWeightModes(LightningModule):
    """Base of the reference modules: the weights are in the right mode where they are trained, validated and saved.

    A schedule-free optimizer takes gradients at one point and is validated at another, and changes the weights over
    by its ``train()`` and ``eval()``; Lightning calls neither. Other optimizers have none, and nothing is done.
    """

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Change over to what is trained, at each batch: a checkpoint may have been saved after the last one."""
        self._change_over("train")

    def on_validation_start(self) -> None:
        """Change over to what is validated."""
        self._change_over("eval")

    def on_train_end(self) -> None:
        """Leave behind what is validated: it is tested too."""
        self._change_over("eval")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save what is validated."""
        # in place, so that the weights which the checkpoint already has change over too; the state of the optimizers,
        # which says in which mode they are, does not
        if self._change_over("eval") and "optimizer_states" in checkpoint:
            checkpoint["optimizer_states"] = [optimizer.state_dict() for optimizer in self.trainer.optimizers]

    def _change_over(self, mode: str) -> bool:
        """Call the optimizers' ``train`` or ``eval``, and return whether there is one that has it."""
        found = [getattr(one, mode) for one in self.trainer.optimizers if hasattr(one, mode)]
        for change in found:
            change()
        return bool(found)
