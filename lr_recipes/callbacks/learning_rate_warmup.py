"""The callback that puts a warmup over whatever scheduler the module itself configures."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lr_recipes.callbacks.hooks import leave_out
from lr_recipes.callbacks.learning_rate_scheduler import LearningRateScheduler
from lr_recipes.callbacks.telling import tell
from lr_recipes.callbacks.trainer_facts import check_optimizers, forgets, horizon_of, optimizer_names
from lr_recipes.horizon import Horizon
from lr_recipes.resume import POLICIES, chosen_plan
from lr_recipes.scheduler import WarmupOver, read_lrs
from lr_recipes.schedules import Fixed, Schedule


class LearningRateWarmup(Callback):
    """Multiplies the LR of the first updates by a warmup's factor, over any scheduler that the module returns.

    The module's scheduler goes on as if there were no warmup: when it steps it sees, and changes, its own LR. Update
    ``n < W`` uses ``that LR x factor(n)``; from update ``W`` on the LR is the scheduler's, bit for bit. A plateau, a
    schedule per epoch and several optimizers are all right; a module without a scheduler warms up to a fixed LR.

    Args:
        duration: length of the warmup, a duration (``"500 steps"``, ``"5 epochs"``, ``"10%"``).
        warmup_type: ``"linear"``, ``"cosine"``, ``"exponential"`` or ``"constant"``; see ``schedules.Schedule``.
        warmup_start_factor: factor of the first update; ``None`` for the type's default.
        resume: what to do when a checkpoint was made with another warmup: ``"error"``, ``"checkpoint"``, ``"config"``.

    Raises:
        ValueError: an argument is unknown; or, when training starts, a LearningRateScheduler is there, or the warmup
            does not fit the run.

    Example:
        >>> from lr_recipes import LearningRateWarmup
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[LearningRateWarmup("500 steps")], accelerator="cpu", logger=False)
    """

    def __init__(
        self,
        duration: int | str,
        warmup_type: str = "linear",
        warmup_start_factor: float | None = None,
        resume: str = "error",
    ) -> None:
        if resume not in POLICIES:
            raise ValueError(f"resume={resume!r}: must be one of {', '.join(POLICIES)}")
        self.schedule = Fixed(warmup=duration, warmup_type=warmup_type, warmup_start_factor=warmup_start_factor)
        self.resume = resume
        self._warmups: dict[str, WarmupOver] = {}
        self._plan: dict[str, Any] = {}
        self._state: dict[str, Any] = {}

    # Hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier run, unless this one goes on from it."""
        if forgets(trainer, stage):
            self._state = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a second owner; stand between the trainer and the module's schedulers."""
        self._release()
        check_optimizers(trainer)
        if any(isinstance(one, LearningRateScheduler) for one in trainer.callbacks):  # type: ignore[attr-defined]
            raise ValueError(
                "LearningRateWarmup and LearningRateScheduler would both write the LR: remove LearningRateWarmup and "
                f"give the scheduler's schedule the warmup, as in schedules.Cosine(warmup={self.schedule.warmup!r})"
            )
        for config in trainer.strategy.lr_scheduler_configs:
            config.scheduler = _Shielded(config.scheduler, self)  # type: ignore[assignment]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Resolve the length, go on where a checkpoint stopped, and begin."""
        leave_out(self, LearningRateWarmup)
        state = self._state
        horizon = horizon_of(trainer)
        schedule, horizon = self._resumed(horizon, state)
        curve = schedule.resolve(horizon)
        length = horizon.steps(schedule.warmup, "duration")
        for name, optimizer in zip(optimizer_names(trainer.optimizers), trainer.optimizers, strict=True):
            saved = state.get("optimizers", {}).get(name, {})
            self._warmups[name] = WarmupOver(
                curve, length, optimizer, saved.get("position", trainer.global_step), saved.get("lrs")
            )
            tell(trainer, _plan(name, self._warmups[name], schedule))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let go of the optimizers."""
        self._state = self.state_dict()
        for config in trainer.strategy.lr_scheduler_configs:
            if isinstance(config.scheduler, _Shielded):
                config.scheduler = config.scheduler.scheduler
        self._release()

    def state_dict(self) -> dict[str, Any]:
        """Return the plan and, by optimizer, the position and the scheduler's own LRs, as plain values."""
        if not self._warmups:
            return self._state
        optimizers = {
            name: {"position": warmup.position, "lrs": [float(lr) for lr in warmup.lrs]}
            for name, warmup in self._warmups.items()
        }
        return {"plan": self._plan, "optimizers": optimizers}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a checkpoint's state until training starts."""
        self._state = state_dict

    # What the hooks do

    def over(self, optimizer: Any) -> WarmupOver | None:
        """Return the warmup of ``optimizer``, once there is one."""
        return next((warmup for warmup in self._warmups.values() if warmup.optimizer is optimizer), None)

    def _resumed(self, horizon: Horizon, state: dict[str, Any]) -> tuple[Schedule, Horizon]:
        """The warmup to follow: the configured one, or by the policy the checkpoint's."""
        self._plan = {
            "schedule": self.schedule.describe(),
            "base_lrs": [],
            "peak": 1.0,
            "horizon": horizon.describe(),
        }
        if not state:
            return self.schedule, horizon
        position = max((one["position"] for one in state["optimizers"].values()), default=0)
        chosen = chosen_plan({**state["plan"], "position": position}, self._plan, self.resume)
        self._plan = {**self._plan, "schedule": chosen.schedule.describe(), "horizon": chosen.horizon.describe()}
        return chosen.schedule, chosen.horizon

    def _release(self) -> None:
        for warmup in self._warmups.values():
            warmup.detach()
        self._warmups = {}


class _Shielded:
    """A module's scheduler that, whenever it steps, sees its own LR and not the warmed-up one."""

    def __init__(self, scheduler: Any, owner: LearningRateWarmup) -> None:
        self.scheduler, self._owner = scheduler, owner

    def step(self, *args: Any, **kwargs: Any) -> None:
        warmup = self._owner.over(self.scheduler.optimizer)
        if warmup is None:
            self.scheduler.step(*args, **kwargs)
            return
        with warmup.hidden():
            self.scheduler.step(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.scheduler, name)


def _plan(name: str, warmup: WarmupOver, schedule: Schedule) -> str:
    lrs = ", ".join(f"{lr:g}" for lr in read_lrs(warmup.optimizer)[:3])
    if warmup.over:
        return f"Learning-rate warmup for {name}: over since update {warmup.length:,}, LR {lrs}"
    return (
        f"Learning-rate warmup for {name}: updates {warmup.position:,} to {warmup.length - 1:,} "
        f"({schedule.warmup_type}), over the module's own schedule, from LR {lrs}"
    )
