"""Which of torch's attention kernels comes first; what each of them computes is the same up to rounding."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

from torch.nn.attention import SDPBackend, sdpa_kernel

AttentionKernel = Literal["cudnn", "flash", "efficient", "math"]
ATTENTION_KERNELS = get_args(AttentionKernel)
_BACKENDS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def attention_order(first: AttentionKernel | None) -> list[AttentionKernel]:
    """Return the kernels in the order in which they are tried; the first that takes the inputs computes.

    Args:
        first: the one to put first.

    Raises:
        ValueError: there is no such kernel.

    Example:
        >>> attention_order("cudnn")
        ['cudnn', 'flash', 'efficient', 'math']
    """
    if first is not None and first not in ATTENTION_KERNELS:
        raise ValueError(f"attention={first!r} is unknown: set null or one of {', '.join(ATTENTION_KERNELS)}")
    return sorted(ATTENTION_KERNELS, key=lambda kernel: kernel != first)


def attending(first: AttentionKernel | None) -> AbstractContextManager[object]:
    """Return a context in which attention tries ``first`` before the others; ``None`` leaves the choice to torch.

    A compiled network keeps the kernel that came first when it was compiled.
    """
    if first is None:
        return nullcontext()
    return sdpa_kernel([_BACKENDS[kernel] for kernel in attention_order(first)], set_priority=True)


def attending_alone(kernel: AttentionKernel) -> AbstractContextManager[object]:
    """Return a context in which attention is computed by one kernel, or fails where that cannot."""
    return sdpa_kernel(_BACKENDS[kernel])
