"""What our callbacks share: a memory from one run to the next, and no hooks that do nothing.

What they share of one run, its optimizers, clocks and horizon, is the ``Fit``'s; what only one of them does is its own.
"""

from __future__ import annotations

from typing import Any

from lr_recipes.callbacks.fit import Fit, Recalls
from lr_recipes.callbacks.lightning import Callback, LightningModule, Trainer, callbacks_of
from lr_recipes.callbacks.telling import tell
from lr_recipes.plan.state import COUNT, LENGTH, START, ByName, Entries, Form, damaged

# What a run that goes on must know of the loop: see `Fit.loop`.
LOOP = Entries(
    {},
    {
        "lengths": ByName(COUNT, LENGTH),
        "repeats": ByName(COUNT, LENGTH),
        "start": START,
    },
)


class Remembering(Recalls, Callback):
    """A callback with state: during a run its own, before and after it what that run goes on from or has ended with.

    Attributes:
        form: what its state must look like.
        begins_anew: whether ``resume="restart"`` needs nothing of a state, so that it helps where that is damaged.
        ways: what to do about a damaged one, other than to take another checkpoint; by default, to leave it out.
        resume: what to do about a state that does not fit.
    """

    form: Form
    begins_anew = False
    ways: str | None = None
    resume = "error"

    def __init__(self) -> None:
        self._state: dict[str, Any] = {}  # of the fit that is over, and from `recall` on what this one goes on from
        self._damage = ""  # what is wrong with the checkpoint's, where that is of no matter
        self._loaded: dict[str, Any] | None = None  # of the checkpoint that this fit is given, if it holds any
        self._stage = ""
        self._repeats: dict[int, int] = {}  # of the epoch in which the earlier fit was broken off, if it was
        self._origin = "nothing"
        self._fit: Fit | None = None  # from `recall` to `remember`
        self._moved = False  # whether this fit has done an update, once it is over

    def now(self) -> dict[str, Any]:
        """Return the state of a run that is under way, as plain values; nothing where none is."""
        raise NotImplementedError

    def recall(self, fit: Fit, origin: str) -> dict[str, int]:
        """Take up the state of the checkpoint or of the earlier fit, or none; return the positions that it holds."""
        self._fit, self._origin = fit, origin
        if self._damage:
            tell(
                fit.trainer,
                f"{type(self).__name__} begins anew: its state in the checkpoint is damaged: {self._damage}",
            )
            self._damage = ""
        if origin == "checkpoint":  # which may hold nothing of ours: then an earlier fit's state is not to come back
            self._state = self._loaded or {}
        elif origin == "nothing":
            self._state = {}
        return self._positions()

    def loop_now(self) -> dict[str, Any]:
        """Return, as a part of ``now()``, what a run that goes on must know of the loop; empty in most runs."""
        facts = self._state.get("loop", {}) if self._fit is None else self._fit.loop()
        return {"loop": facts} if facts else {}

    def loop(self) -> dict[str, Any]:
        """Return what the state holds of the run's loop, and of an earlier fit how far it came in its last epoch."""
        facts: dict[str, Any] = self._state.get("loop", {})
        if self._origin == "earlier fit":
            facts = {**facts, "repeats": {**facts.get("repeats", {}), **self._repeats}}
        return facts

    def _positions(self) -> dict[str, int]:
        return {name: saved["position"] for name, saved in self._state.get("optimizers", {}).items()}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the optimizers of an earlier fit; those of this one do not exist yet.

        Lightning calls this before all other hooks of a callback; the checkpoint's state comes after it.
        """
        self._stage = stage
        if stage == "fit":  # `validate` and `test` come through here too, and move nothing
            self._loaded, self._moved = None, False
            Fit.forget(trainer)  # each of ours does; the fit is made anew by the first `Fit.of`

    def state_dict(self) -> dict[str, Any]:
        """Return the state, as plain values.

        Lightning asks whenever a checkpoint is saved, also when nothing is under way: then it must hold what the run
        begins with or has ended with.
        """
        if self._fit is not None:
            self._fit.look_for_rebuilt()  # one that has not stepped yet has its own LRs in the checkpoint
        return self.now() or (self._state if self._loaded is None else self._loaded)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a checkpoint's state until training starts.

        Lightning calls this between ``setup`` and ``on_fit_start``; with strategies that restore after their own setup
        (FSDP, DeepSpeed), between ``on_fit_start`` and ``on_train_start``. It also hands over the state of a checkpoint
        which is only tested or validated: that changes nothing here.

        Raises:
            ResumeError: the state is damaged, or of something else.
        """
        if self._stage not in ("", "fit"):  # "": somebody calls it by hand, before any Trainer
            return
        fault = self.form.fault(state_dict) if state_dict != {} else ""  # which is that of a run that has not begun
        if fault and not (self.begins_anew and self.resume == "restart"):
            leave_out = f"take this part out of it, del checkpoint['callbacks'][{self.state_key!r}]"
            ways = leave_out if self.ways is None else self.ways
            raise damaged(fault, f"state of {type(self).__name__} in the checkpoint", ways)
        self._loaded, self._damage = {} if fault else state_dict, fault

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note where the epoch begins; each of ours does.

        The epoch's data are set up. Lightning does not call this where a fit goes on within an epoch.
        """
        Fit.of(trainer).begin_epoch()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Complain of an optimizer whose updates cannot be counted: its LR is not what anybody planned."""
        uncounted = Fit.of(trainer).uncounted()
        if uncounted:
            self.complain(trainer, uncounted)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where a checkpoint left nothing to train; the first of ours does.

        Lightning then goes past every hook of training, or only ends an epoch that was saved behind its last batch, and
        says of it no more than at the end of any run.
        """
        first = next(one for one in callbacks_of(trainer) if isinstance(one, Remembering))
        if trainer.ckpt_path is not None and not self._moved and first is self:
            tell(trainer, _nothing_left(trainer))

    def complain(self, trainer: Trainer, uncounted: str) -> None:
        """End the run; a callback that only looks may do less."""
        raise ValueError(uncounted)

    def remember(self, trainer: Trainer, ended: bool = True) -> None:
        """Keep the state that a run ends with, should the same Trainer go on, and stop counting.

        Args:
            trainer: the Trainer.
            ended: whether the run came to its end, and was not broken off.
        """
        self._moved = self._moved or (self._fit is not None and self._fit.moved)
        self._state, self._loaded = self.state_dict(), None  # the last position: nothing counts after this
        self._repeats = {} if ended else Fit.repeated_by(trainer)
        Fit.end_of(trainer)  # a second call does nothing: several of our callbacks come here
        self._fit = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep the state that the run was stopped in.

        Lightning calls this in place of ``on_train_end``, from wherever the error was raised, Ctrl-C included.
        """
        if self._stage == "fit":  # a test may be broken off too
            self.remember(trainer, ended=False)


def _nothing_left(trainer: Trainer) -> str:
    """Say that a run has come to its end before this fit began, and how it is trained longer."""
    steps, epochs = trainer.max_steps, trainer.max_epochs
    limit, longer = f"max_epochs={epochs}", f"max_epochs={(epochs or 0) + 1}"
    if steps is not None and 0 <= steps <= trainer.global_step:
        limit, longer = f"max_steps={steps}", f"max_steps={steps + 1}"
    return (
        f"Nothing was left to do: the checkpoint is of a run that has done its {trainer.global_step:,} updates, and "
        f"ends at {limit}. To train longer, give the Trainer {longer} or more; resume='config' then follows the "
        "longer plan, and resume='restart' a new one over what is left"
    )


# What Lightning calls at every update, in the order of the calls; with accumulation, some of them at every batch.
PER_UPDATE = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


def leave_out(callback: Callback, owner: type[Callback], *names: str) -> None:
    """Let Lightning pass over hooks of a callback: each costs some microseconds at every update, even an empty one.

    Lightning calls only what can be called, so an attribute that is ``None`` stands in the way of the method.

    Besides ``names``, all hooks of ``PER_UPDATE`` that ``owner`` does not define are left out. A hook that a subclass
    of ``owner`` defines stays, and finds what it calls through ``super()``. A second call forgets what the first did.

    Args:
        callback: the callback.
        owner: the class whose hooks may be left out.
        names: hooks that have nothing to do in this run.
    """
    for name in PER_UPDATE:
        vars(callback).pop(name, None)  # the class's own is there again
        implementation = getattr(type(callback), name)
        idle = name in names and implementation is getattr(owner, name)
        if idle or implementation is getattr(Callback, name):
            setattr(callback, name, None)
