"""Muon for hidden matrices and AdamW for the rest, as one optimizer: torch's two, that share groups and state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT


class MuonWithAdamW(Optimizer):
    """Step the groups with ``"hidden": True`` as torch's ``Muon`` does, and all others as its ``AdamW``.

    Muon turns the averaged gradient of a matrix into the nearest matrix with orthogonal rows or columns. It is meant
    for the matrices of hidden layers; what reads the input or writes the output, and every vector, is AdamW's
    (Jordan et al. 2024). torch's takes two dimensions only, so a convolution is AdamW's too. As one optimizer they need
    no manual optimization: clipping, accumulation, schedules and checkpoints are those of any other.

    Args:
        params: parameter groups; ``"hidden"`` is ``False`` where it is not said.
        lr: base LR of all groups.
        weight_decay: share of a weight that decays at an LR of 1; decoupled in both.
        momentum, nesterov, ns_steps, adjust_lr_fn: Muon's. With ``"match_rms_adamw"`` an update of a matrix is as large
            as AdamW's usually are, so that one LR suits both (Liu et al. 2025).
        betas, eps: AdamW's.

    Raises:
        ValueError: a value is out of range, or a hidden parameter is no matrix; from torch.

    Example:
        >>> layer = torch.nn.Linear(3, 3)
        >>> optimizer = MuonWithAdamW([{"params": [layer.weight], "hidden": True}, {"params": [layer.bias]}], lr=0.01)
        >>> [sorted({"momentum", "betas"} & group.keys()) for group in optimizer.param_groups]
        [['momentum'], ['betas']]
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.002,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = "match_rms_adamw",
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
    ) -> None:
        # each without parameters: they keep the options, of groups too that are added later
        self._muon: Optimizer = torch.optim.Muon(
            [{"params": []}], lr, weight_decay, momentum, nesterov, ns_steps=ns_steps, adjust_lr_fn=adjust_lr_fn
        )
        self._adamw: Optimizer = torch.optim.AdamW([{"params": []}], lr, betas, eps, weight_decay)
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "hidden": False})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, which gets the options of the optimizer that steps it."""
        super().add_param_group(param_group)
        self._share()

    def _share(self) -> None:
        """Let both step what is in the groups now, with the state that is there now."""
        for one, hidden in ((self._muon, True), (self._adamw, False)):
            one.state, one.param_groups = self.state, []
            for group in self.param_groups:
                if group["hidden"] is hidden:
                    one.add_param_group(group)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_muon": self._muon, "_adamw": self._adamw}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()  # `load_state_dict` has made new groups

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update all parameters once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._muon.step()
        self._adamw.step()
        return loss
