"""An average of the weights, which is what is validated, saved and tested."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.callbacks import EMAWeightAveraging


class AveragedWeights(EMAWeightAveraging):
    """Lightning's exponential moving average of the weights, which is tested too, whatever weights are loaded.

    Lightning validates and saves the average. But a checkpoint that is loaded after the training puts the weights of
    training into the module, and Lightning changes them for the average at a validation only.

    Args:
        decay: the average keeps this share of itself at each update: it is over about 1 / (1 - decay) updates.
        use_buffers, update_every_n_steps, update_starting_at_step, update_starting_at_epoch, device: see Lightning's
            ``EMAWeightAveraging``.
    """

    def on_test_epoch_start(self, *run: Any) -> None:
        """Change to the average."""
        self.on_validation_epoch_start(*run)

    def on_test_epoch_end(self, *run: Any) -> None:
        """Change back."""
        self.on_validation_epoch_end(*run)
