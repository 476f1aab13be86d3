"""The callback that puts a warmup over whatever scheduler the module itself configures.

How a scheduler is kept from seeing the warmup is ``optimizer/warmup.py``'s; here stands when that begins and ends.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from lr_recipes import checks
from lr_recipes.callbacks.base import LOOP, Remembering, leave_out
from lr_recipes.callbacks.fit import Fit
from lr_recipes.callbacks.learning_rate_scheduler import check_optimizers
from lr_recipes.callbacks.lightning import LightningModule, Trainer
from lr_recipes.callbacks.telling import as_typed, tell
from lr_recipes.checks import brief
from lr_recipes.optimizer.groups import check_lrs, read_lrs, refuse_own_warmup
from lr_recipes.optimizer.warmup import WARMED, WarmupOver, oddity_of_warmup
from lr_recipes.plan.plan import Plan
from lr_recipes.plan.resume import POLICIES, choose, saved_plan
from lr_recipes.plan.state import FLAG, PLAN_ENTRIES, TEXT, ByName, Entries, damaged
from lr_recipes.schedules import Fixed


@checks.explains_arguments
class LearningRateWarmup(Remembering):
    """Multiplies the LR of the first updates by a warmup's factor, over any scheduler that the module returns.

    The module's scheduler goes on as if there were no warmup: when it steps it sees, and changes, its own LR. Update
    ``n < W`` uses ``that LR x factor(n)``; from update ``W`` on the LR is the scheduler's, bit for bit. A plateau, a
    schedule per epoch and several optimizers are all right; a module without a scheduler warms up to a fixed LR.

    Args:
        duration: length of the warmup, a duration (``"500 steps"``, ``"5 epochs"``, ``"10%"``).
        warmup_type: ``"linear"``, ``"cosine"``, ``"exponential"`` or ``"constant"``; see ``schedules.Schedule``.
        warmup_start_factor: factor of the first update; ``None`` for the type's default.
        resume: what to do when a checkpoint was made with another warmup: ``"error"``, ``"checkpoint"``,
            ``"config"`` or ``"restart"``; see ``LearningRateScheduler``.

    Raises:
        ValueError: an argument is unknown; or, when training starts, a LearningRateScheduler is there, or the warmup
            does not fit the run.

    Example:
        >>> from lr_recipes import LearningRateWarmup
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[LearningRateWarmup("500 steps")], accelerator="cpu", logger=False)
    """

    form = Entries(
        {"plan": Entries(PLAN_ENTRIES, {"cycles_momentum": FLAG}), "optimizers": ByName(TEXT, WARMED)}, {"loop": LOOP}
    )
    ways = ""  # the groups hold multiples of what the module's scheduler wrote, which is in the state alone

    def __init__(
        self,
        duration: int | str,
        warmup_type: str = "linear",
        warmup_start_factor: float | None = None,
        resume: str = "error",
    ) -> None:
        super().__init__()
        self.resume = checks.one_of("resume", resume, POLICIES)
        self.schedule = Fixed(warmup=duration, warmup_type=warmup_type, warmup_start_factor=warmup_start_factor)
        self._warmups: dict[str, WarmupOver] = {}

    # Hooks

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a second owner.

        The optimizers and the module's schedulers are built, and a checkpoint's optimizer state is not restored yet:
        nothing is written, so what is refused leaves no trace.
        """
        self._warmups = {}
        for optimizer in Fit.of(trainer).optimizers.values():
            check_lrs(optimizer)
            refuse_own_warmup(optimizer)
        for clock in Fit.of(trainer).clocks.values():
            clock.claim(
                type(self).__name__,
                "remove LearningRateWarmup and give the schedule the warmup, as in "
                f"schedules.Cosine(warmup={self.schedule.warmup!r})",
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Resolve the length, go on where a checkpoint stopped, and begin: all state is restored by now.

        The module's schedulers have been restored too, and the groups hold what they held in the checkpoint.
        """
        leave_out(self, LearningRateWarmup)
        fit = Fit.of(trainer)
        fit.settle()
        saved = self._state.get("optimizers", {})
        plan, schedulers = self._chosen(fit), fit.schedulers()
        for name, clock in fit.clocks.items():
            fit.check_position(name)
            # Of a checkpoint; a second fit of a Trainer has an optimizer that was built anew, and a scheduler.
            lrs = saved.get(name, {}).get("lrs") if self._origin == "checkpoint" else None
            self._warmups[name] = WarmupOver(plan, clock, schedulers[name], lrs)
            tell(trainer, _warmup_opening(name, self._warmups[name]))
        fit.on_rebuilt.append(partial(self._go_on_rebuilt, fit))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Let the clocks count from the first batch on: now all other callbacks have their hooks on the optimizers."""
        Fit.of(trainer).start()
        leave_out(self, LearningRateWarmup, "on_train_batch_start")  # once is enough

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Where the loader has been made anew, let a warmup that lasts have the epoch's real length."""
        super().on_train_epoch_start(trainer, pl_module)
        fit = Fit.of(trainer)
        for warmup in [one for one in self._warmups.values() if fit.reloads and not one.over]:
            horizon = replace(warmup.plan.horizon, steps_per_epoch=fit.horizon().steps_per_epoch)
            if horizon != warmup.plan.horizon:
                warmup.plan = warmup.plan.schedule.plan(horizon, [], peak=1.0)
                warmup.write(warmup.clock.position)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let go of the optimizers, should the run end within the warmup; the LR stays as it is."""
        self.remember(trainer)

    def remember(self, trainer: Trainer, ended: bool = True) -> None:
        """Keep the state that a run ends with, and give the schedulers back as they were."""
        super().remember(trainer, ended)  # first: the state holds the scheduler's own LRs, which are gone afterwards
        for warmup in self._warmups.values():
            warmup.let_go()
        self._warmups = {}

    def now(self) -> dict[str, Any]:
        """Return the plan and each optimizer's position; while it lasts, the scheduler's own LRs too. Plain values."""
        if not self._warmups:
            return {}
        (plan, *_) = (warmup.plan for warmup in self._warmups.values())
        states = {name: one.state() for name, one in self._warmups.items()}
        return {"plan": plan.state(), "optimizers": states, **self.loop_now()}

    # What the hooks do

    def _chosen(self, fit: Fit) -> Plan:
        """The warmup to follow: the configured one, or by the policy the checkpoint's."""
        configured = self._plan(fit)
        further = self._origin == "earlier fit" or (self._origin != "nothing" and not self._state)
        if self.resume == "restart" and further:
            return self._begin_anew(fit)
        if not self._state:
            return configured
        optimizers = self._state["optimizers"]
        position = max((one["position"] for one in optimizers.values()), default=0)
        saved = {**self._state["plan"], "position": position}
        argument = as_typed("LearningRateWarmup", "LearningRateWarmup(..., resume='checkpoint')")
        chosen = choose(saved, configured, self.resume, self._origin, argument=argument)
        odd = self._oddity(fit, saved_plan(saved, configured))
        if odd:
            raise damaged(odd, self._origin)
        anew = self.resume == "restart" and chosen.differences
        return self._begin_anew(fit) if anew else chosen.plan

    def _oddity(self, fit: Fit, plan: Plan | None) -> str:
        """What in the state does not follow from its plan, or is of other groups than this run's, in words."""
        if self._origin != "checkpoint":  # an earlier fit of the same Trainer, whose optimizers were others
            return ""
        check_optimizers(self._state["optimizers"], fit.optimizers)
        for name, one in self._state["optimizers"].items():
            groups = len(fit.optimizers[name].param_groups)
            if "lrs" in one and len(one["lrs"]) != groups:
                return f"optimizers[{name!r}].lrs is {brief(one['lrs'])}, and there are {groups} parameter groups"
            odd = "" if plan is None else oddity_of_warmup(one, plan)
            if odd:
                return f"optimizers[{name!r}].{odd}"
        return ""

    def _plan(self, fit: Fit) -> Plan:
        # Without base LRs: what is multiplied is the scheduler's LR of the moment, and the plan is a factor alone.
        with fit.advising():
            return self.schedule.plan(fit.horizon(), [], peak=1.0)

    def _begin_anew(self, fit: Fit) -> Plan:
        fit.begin_anew(fit.clocks)
        return self._plan(fit)

    def _go_on_rebuilt(self, fit: Fit, name: str) -> None:
        """Go on over the schedulers of an optimizer that has been rebuilt."""
        warmup = self._warmups[name]
        warmup.cover(fit.schedulers()[name])
        warmup.adopt()
        lr = read_lrs(warmup.optimizer)[0]
        tell(fit.trainer, f"{name} was rebuilt: its warmup goes on at update {warmup.clock.position:,}, with LR {lr:g}")


def _warmup_opening(name: str, warmup: WarmupOver) -> str:
    """The plan of a warmup as it is printed before the first update."""
    lrs = ", ".join(f"{lr:g}" for lr in read_lrs(warmup.optimizer)[:3])
    if warmup.over:
        return f"Learning-rate warmup for {name}: over since update {warmup.total:,}, LR {lrs}"
    return (
        f"Learning-rate warmup for {name}: updates {warmup.clock.position:,} to {warmup.total - 1:,} "
        f"({warmup.plan.schedule.describe()['warmup_type']}), over the module's own schedule, from LR {lrs}"
    )
