"""The two floors of a training step: its arithmetic, and the bytes that it must move. No device is needed.

A step cannot be faster than its floating point operations at the rate of the device's matrix units, nor than its bytes
at the rate of its memory. What is measured stands beside the larger of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

_HALF, _FULL = 2, 4  # bytes of a number in bfloat16 and in float32
# Numbers that an update moves for each parameter, all in float32.
OPTIMIZER_NUMBERS = {
    "SGD": 5,  # reads weight, gradient, momentum; writes weight, momentum
    "AdamW": 7,  # reads weight, gradient, two averages; writes weight and averages
}


@dataclass(frozen=True)
class Floors:
    """What a step must at least do.

    Args:
        flops: floating point operations of forward and backward pass.
        bytes: bytes moved to and from the device's memory.
    """

    flops: float
    bytes: float

    def seconds(self, flops_per_second: float, bytes_per_second: float) -> tuple[float, float]:
        """Return the least time of a step by arithmetic and by bytes, in seconds."""
        return self.flops / flops_per_second, self.bytes / bytes_per_second


def floors_of(network: nn.Module, inputs: Tensor, optimizer: str, flops: float | None = None) -> Floors:
    """Return the floors of a training step.

    Bytes: weights in float32, cast to bfloat16 and read by both passes; gradients written and read; the optimizer's
    numbers; and the output of every layer, written and read forward, its gradient written and read backward. A compiler
    that fuses layers stays below the last part, so for many small layers this is no strict limit.

    Args:
        network: on the meta device.
        inputs: a batch, on the meta device.
        optimizer: name of its class.
        flops: operations of a step, where a formula is better than counting.
    """
    parameters = sum(parameter.numel() for parameter in network.parameters())
    outputs = 0

    def note(module: nn.Module, given: Any, output: Any) -> None:
        nonlocal outputs
        outputs += output.numel()

    handles = [one.register_forward_hook(note) for one in network.modules() if not list(one.children())]
    counter = FlopCounterMode(display=False)
    with counter:
        network(inputs).sum().backward()
    for handle in handles:
        handle.remove()
    weights = parameters * (_FULL + _HALF + 2 * _HALF + 2 * _FULL + OPTIMIZER_NUMBERS[optimizer] * _FULL)
    return Floors(flops or counter.get_total_flops(), weights + 4 * _HALF * outputs)


def transformer_flops(parameters: int, layers: int, width: int, context: int, tokens: int) -> float:
    """Return the operations of a training step of a GPT: ``(6 N + 12 layers x width x context) x tokens``.

    Args:
        parameters: ``N``, position embeddings left out; the tied token embedding counts, as the output matrix.
        layers: blocks.
        width: of the residual stream.
        context: tokens that attention sees; counted whole, though half of it is masked (Chowdhery et al. 2022).
        tokens: of a step.

    Example:
        >>> transformer_flops(124_000_000, 12, 768, 1024, 1) / 1e6
        857.246208
    """
    return (6 * parameters + 12 * layers * width * context) * tokens
