"""The LR that follows the global batch: ``optimizer.lr: ${scaled_lr:}`` in a recipe.

Imported before anything heavy: no torch, no lightning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lr_recipes.checks import brief, is_finite, is_whole

SCALING_RULES = {"linear": 1.0, "sqrt": 0.5}  # exponents of the batch size
_INTERPOLATION = "${scaled_lr:}"


def scaled_lr(base_lr: float, base_batch_size: int, rule: str, global_batch: int) -> float:
    """Return ``base_lr * (global_batch / base_batch_size)``, or with the root of the ratio.

    With k times the batch, an epoch has k times fewer updates: ``linear`` makes each k times longer (Goyal et al.
    2017, for SGD); ``sqrt`` keeps the noise of the updates (Krizhevsky 2014; Malladi et al. 2022, for Adam).

    Args:
        base_lr: LR that suits ``base_batch_size``, above 0.
        base_batch_size: samples, at least 1.
        rule: ``"linear"`` or ``"sqrt"``.
        global_batch: samples in one update, over all devices and accumulated batches.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> scaled_lr(0.1, 256, "linear", 1024), scaled_lr(0.1, 256, "sqrt", 1024)
        (0.4, 0.2)
    """
    if not is_finite(base_lr) or base_lr <= 0:
        raise ValueError(f"batch_scaling.base_lr={brief(base_lr)}: must be above 0; it is the LR for base_batch_size")
    if not is_whole(base_batch_size):
        raise ValueError(
            f"batch_scaling.base_batch_size={brief(base_batch_size)}: must be a whole number of 1 or more; it is the "
            "batch that base_lr suits, as in 256"
        )
    if not isinstance(rule, str) or rule not in SCALING_RULES:
        raise ValueError(f"batch_scaling.rule={brief(rule)} is unknown: choose one of {', '.join(SCALING_RULES)}")
    return float(base_lr * (global_batch / base_batch_size) ** SCALING_RULES[rule])


def devices_of(trainer: Any) -> int:
    """Return how many devices of one machine a Trainer's config asks for; for ``auto``, what is there."""
    given = trainer.get("devices", "auto")
    if isinstance(given, str) and "," in given:
        given = [one for one in given.split(",") if one.strip()]
    if isinstance(given, Sequence) and not isinstance(given, str):
        return len(given)
    if given is None or str(given) in ("auto", "-1"):
        return _devices_here() if trainer.get("accelerator", "auto") in ("auto", "gpu", "cuda") else 1
    if not str(given).lstrip("-").isdecimal():
        raise ValueError(f"trainer.devices={brief(given)}: must be a number of devices, a list such as [0,2], or auto")
    return int(given)


def _devices_here() -> int:
    import torch  # slow, and only needed to count

    return max(torch.cuda.device_count(), 1)


def is_scaled(cfg: DictConfig) -> bool:
    """Whether ``optimizer.lr`` follows the batch; a value typed in its place does not."""
    node = cfg.get("optimizer")
    return node is not None and OmegaConf.to_container(node, resolve=False).get("lr") == _INTERPOLATION  # type: ignore[union-attr]


def scaling_in_words(cfg: DictConfig) -> str:
    """Say in one line how ``optimizer.lr`` came about."""
    scaling = cfg.batch_scaling
    devices, nodes, accumulation, batch = factors = _batch_factors(cfg)
    machines = f"{nodes} machines x " if nodes > 1 else ""
    base = f"sqrt({math.prod(factors)} / {scaling.base_batch_size})"
    if scaling.rule == "linear":
        base = f"{math.prod(factors)} / {scaling.base_batch_size}"
    return (
        f"LR {cfg.optimizer.lr:g} = {scaling.base_lr:g} x {base} ({scaling.rule}, global batch {math.prod(factors)} = "
        f"{machines}{devices} device{'s' * (devices > 1)} x {accumulation} accumulation x {batch})"
    )


def _batch_factors(cfg: DictConfig) -> tuple[int, int, int, int]:
    nodes = _factor("trainer.num_nodes", cfg.trainer.get("num_nodes", 1))
    accumulation = _factor("trainer.accumulate_grad_batches", cfg.trainer.get("accumulate_grad_batches", 1))
    return devices_of(cfg.trainer), nodes, accumulation, _factor("data.batch_size", cfg.data.get("batch_size"))


def _factor(name: str, value: Any) -> int:
    if not is_whole(value):
        raise ValueError(f"{name}={brief(value)}: must be a whole number of at least 1, for the LR follows the batch")
    return int(value)


def scaled_lr_of(cfg: DictConfig) -> float:
    """Return the LR that the ``batch_scaling`` of a config makes of its data's and its Trainer's settings.

    Raises:
        ValueError: as `scaled_lr`.
    """
    scaling = cfg.batch_scaling
    return scaled_lr(scaling.base_lr, scaling.base_batch_size, scaling.rule, math.prod(_batch_factors(cfg)))
