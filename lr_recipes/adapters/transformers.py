"""The way into a Trainer of transformers: one call, and the Trainer follows a schedule.

The Trainer makes its scheduler in ``create_scheduler`` and calls callbacks; nothing else of it is touched. How it
counts its updates is known here, and nowhere else. transformers is imported where it is needed: it takes seconds.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from torch.optim import Optimizer

from lr_recipes import checks
from lr_recipes.adapters.recording import Recording
from lr_recipes.optimizer.as_built import give_back
from lr_recipes.optimizer.clock import check_kind
from lr_recipes.optimizer.follow import BoundSchedule
from lr_recipes.optimizer.groups import built_lrs, copies, group_names
from lr_recipes.optimizer.internals import innermost
from lr_recipes.plan.horizon import Horizon, HorizonError, read_tokens
from lr_recipes.plan.plan import Plan
from lr_recipes.plan.resume import POLICIES
from lr_recipes.plan.state import BOUND
from lr_recipes.report.words import in_words
from lr_recipes.schedules import Schedule
from lr_recipes.schedules.named import as_schedule

AnyTrainer = TypeVar("AnyTrainer")
# What TrainingArguments say of the LR beside its peak -> what is left as it is.
_OF_THE_ARGUMENTS = {"lr_scheduler_type": "linear", "warmup_steps": 0, "warmup_ratio": None, "lr_scheduler_kwargs": {}}


def scheduled(
    trainer: AnyTrainer, schedule: Schedule | str, resume: str = "error", *, tokens_per_sample: float | None = None
) -> AnyTrainer:
    """Let a Trainer of transformers follow a schedule, and record what its updates use; return the Trainer.

    The optimizer stays as the Trainer makes it, with its groups; its ``learning_rate`` is the peak. Lengths are
    resolved from what the Trainer knows when training starts, and the plan is printed. Each update uses the planned LR,
    also after ``train(resume_from_checkpoint=...)``; ``lr.csv`` in the ``output_dir`` has all of them, and a line at
    the end says whether used and planned were equal. A ``Plateau`` is given its metric at each evaluation.

    Args:
        trainer: any ``transformers.Trainer``, before it trains; a second call takes the place of the first.
        schedule: what to follow, or its name, as ``"warmup_cosine"``.
        resume: what to do when a checkpoint was made with another plan: ``"error"`` stops and shows both;
            ``"checkpoint"`` follows the old plan to its end; ``"config"`` follows the new one from the restored
            position on; ``"restart"`` begins a new one at position 0, over what is left of the run.
        tokens_per_sample: tokens in a sample (their mean, where samples differ), for lengths in tokens.

    Raises:
        TypeError: it is no Trainer, or no schedule.
        ValueError: somebody else would write the LR too; or the schedule does not fit the run (when training starts).

    Example:
        >>> from lr_recipes import schedules
        >>> trainer = scheduled(Trainer(...), schedules.Cosine(warmup="5%"))  # doctest: +SKIP
        >>> trainer.train()  # doctest: +SKIP
    """
    from transformers import Trainer

    if not isinstance(trainer, Trainer):
        raise TypeError(
            f"trainer={checks.brief(trainer)}: must be a transformers.Trainer, as in "
            "scheduled(Trainer(model, args, ...), schedules.Cosine(warmup='5%'))"
        )
    schedule = as_schedule(schedule)
    if not isinstance(schedule, Schedule):
        raise TypeError(
            f"schedule={checks.brief(schedule)}: must be one of lr_recipes.schedules, as in "
            "schedules.Cosine(warmup='5%')"
        )
    checks.one_of("resume", resume, POLICIES)
    tokens = read_tokens("tokens_per_sample", tokens_per_sample)
    _refuse_owners(trainer, schedule)
    kind = _callback_kind()
    trainer.remove_callback(kind)
    trainer.add_callback(kind(trainer, schedule, resume, tokens))
    return trainer


def _refuse_owners(trainer: Any, schedule: Schedule) -> None:
    if trainer.lr_scheduler is not None and not isinstance(trainer.lr_scheduler, _Followed):
        raise ValueError(
            f"two owners of one learning rate: the Trainer was given a {type(trainer.lr_scheduler).__name__} in "
            f"optimizers=(...), and {schedule!r} is to write it too: give optimizers=(optimizer, None)"
        )
    args = trainer.args
    given = {name: getattr(args, name, None) for name in _OF_THE_ARGUMENTS}
    set_too = [f"{k}={checks.plain(v)!r}" for k, v in given.items() if (v or None) != (_OF_THE_ARGUMENTS[k] or None)]
    if set_too:
        raise ValueError(
            f"two owners of one learning rate: TrainingArguments({', '.join(set_too)}) would have no effect beside "
            f"{schedule!r}: leave them out, and write a warmup into the schedule, as in warmup='5%' or warmup=500"
        )


class _Followed(BoundSchedule):
    """The schedule as the Trainer holds it: it counts the real updates, whatever the Trainer ticks.

    Attributes:
        recording: of the updates; on the first process.
        notes: what there is to say of a run that goes on, beside its plan.
    """

    recording: Recording | None = None

    def start(self, resume: str, updates: Any) -> None:
        """Begin to count.

        Args:
            resume: the policy for a checkpoint with another plan.
            updates: asked for the updates that the Trainer has done.
        """
        self._resume, self._updates = resume, updates
        # A checkpoint's optimizer is loaded before its schedule, with the bases of then: these are this run's.
        self._built = self.plan
        self.notes: list[str] = []
        self._used = copies(self.optimizer)
        self.clock.witnesses.append(self)
        self.attach()

    def further(self) -> dict[str, Any]:
        """Return what a copy is to have too; it records nothing."""
        kept = ("_resume", "_updates", "_built", "_used", "notes")
        return {name: value for name, value in vars(self).items() if name in kept}

    def how_to_choose(self) -> str:
        """Return how ``resume`` is given: the Trainer loads the state."""
        return "scheduled(trainer, schedule, resume='checkpoint')"

    def note(self, counts: bool) -> None:
        """Keep what the step has used."""
        if counts:
            self._used = copies(self.optimizer)

    def get_last_lr(self) -> list[float]:  # type: ignore[override]
        """Return what the last update used: the Trainer asks after it, and logs that."""
        return [float(lr) for lr in self._used]

    def state_dict(self) -> dict[str, Any]:
        """Return the schedule's state, the updates of the Trainer, and what the record has counted."""
        counts = {} if self.recording is None else {"record": self.recording.state_dict()}
        return {**super().state_dict(), "trainer_steps": self._updates(), **counts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a checkpoint was saved, by the policy; one of another scheduler has a position and no more."""
        self.adopt()
        self._follow_from(0)
        if "refreshed_at" not in state_dict:
            self.position = state_dict.get("last_epoch", 0)  # torch's schedulers count their ticks
            self.notes = [f"the checkpoint has no schedule of lr_recipes: this one goes on at update {self.position:,}"]
            return
        # Not asked of the Trainer: before transformers 5 it loads its own count later.
        done = state_dict.get("trainer_steps", state_dict.get("position", 0))
        if self._resume == "restart" and not BOUND.fault(state_dict):  # if it has begun anew before, it goes on
            self._follow_from(max(done - state_dict["position"], 0))
        differences = self.restore(state_dict, self._resume)
        self.notes = [f"checkpoint -> this run: {one}" for one in differences]
        if self._resume == "restart" and differences:
            if self.recording is not None:
                self.recording.keep(f"lr-until-{done}.csv")
            self._follow_from(done)
            self.refresh()
            self.notes = [f"begins anew at update 0: {done:,} updates were done before", *self.notes]
            return
        self.notes.insert(0, f"resumed at update {self.position:,}")
        if self.recording is not None:
            self.recording.load_state_dict(state_dict.get("record", {}))

    def _follow_from(self, first: int) -> None:
        """Follow this run's plan over the updates from ``first`` on."""
        plan, horizon = self._built, self._built.horizon
        if first:
            horizon = horizon.part(first, max((horizon.total_steps or 0) - first, 1))
        self.follow(plan.over(horizon))


class _Follower:
    """What the Trainer calls: makes its scheduler, shows it each evaluation, and says what is planned and came out.

    Together with ``TrainerCallback`` it is one of the Trainer's callbacks.
    """

    def __init__(self, trainer: Any, schedule: Schedule, resume: str, tokens_per_sample: float | None) -> None:
        self._trainer, self._schedule, self._resume, self._tokens = trainer, schedule, resume, tokens_per_sample
        self._loader: Any = None
        self._metrics: set[str] = set()
        self._recording: Recording | None = None
        self._get_loader, self._train_on = trainer.get_train_dataloader, trainer.train
        trainer.get_train_dataloader, trainer.train = self._note_loader, self._train
        trainer.create_scheduler = self._create_scheduler

    # In the place of the Trainer's own methods

    def _train(self, *args: Any, **kwargs: Any) -> Any:
        """Train, and say what came out, whatever ends it."""
        try:
            return self._train_on(*args, **kwargs)
        finally:
            self._end_record()

    def _end_record(self) -> None:
        recording, self._recording = self._recording, None
        if recording is not None and recording.begun:  # else it was refused, and said why
            self._print(f"Learning rate: {recording.close()}, see {recording.path}")

    def _note_loader(self) -> Any:
        self._loader = self._get_loader()
        return self._loader

    def _create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> _Followed:
        """The Trainer calls it when the optimizer is made, and before it loads a checkpoint's state."""
        trainer = self._trainer
        optimizer = trainer.optimizer if optimizer is None else optimizer
        check_kind(optimizer)
        give_back(optimizer)
        plan = self._plan(num_training_steps, optimizer)
        bound: _Followed = _Followed.by_hand(plan, optimizer)  # type: ignore[assignment] # a class method
        bound.start(self._resume, lambda: trainer.state.global_step)
        self._end_record()  # a training that found its batches too large begins again, with smaller ones
        if trainer.is_world_process_zero():
            bound.recording = self._recording = Recording(bound, trainer.args.output_dir, self._print)
        self._metrics = set()
        trainer.lr_scheduler = bound
        return bound

    def _plan(self, total: int, optimizer: Optimizer) -> Plan:
        args, schedule = self._trainer.args, self._schedule
        if schedule.reaction() is not None and args.eval_strategy == "no":
            raise ValueError(
                f"{schedule!r} waits for a metric, and TrainingArguments(eval_strategy='no') evaluates nothing: give "
                "eval_strategy='epoch', or 'steps', and an eval_dataset"
            )
        try:
            return schedule.plan(self._horizon(total), built_lrs(optimizer))
        except HorizonError as error:  # the Trainer always knows the total, and the samples in an update
            steps = "write the length in steps ('500 steps') or as a share of the run ('5%')"
            if error.fact == "max_time":
                raise error.advised(f"{steps[0].upper()}{steps[1:]}") from error
            if error.fact == "tokens_per_sample":
                raise error.advised(
                    f"Give it, scheduled(trainer, schedule, tokens_per_sample=2048), or {steps}"
                ) from error
            raise error.advised(
                f"The Trainer's loader has no length, so nobody knows how long an epoch is: {steps}"
            ) from error

    def _horizon(self, total: int) -> Horizon:
        from transformers.trainer_utils import has_length

        trainer, args = self._trainer, self._trainer.args
        source, epoch = f"max_steps={total:,}", None
        if has_length(self._loader):
            # The last window of an epoch is an update too, however short it is.
            shared = trainer.get_sp_size() if hasattr(trainer, "get_sp_size") else 1  # since 5.0: parts of a sequence
            batches = len(self._loader) * shared
            epoch = -(-batches // args.gradient_accumulation_steps)
            if args.max_steps <= 0:
                source = f"{args.num_train_epochs:g} epochs of {checks.counted(epoch, 'update')}"
        samples = trainer.get_total_train_batch_size(args)
        return Horizon(
            total_steps=total,
            steps_per_epoch=epoch,
            samples_per_step=samples,
            tokens_per_sample=self._tokens,
            source=source,
        )

    # As a callback

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say what is planned: the checkpoint is loaded, and the first update is still to come."""
        bound: _Followed = self._trainer.lr_scheduler
        who = type(innermost(bound.optimizer)).__name__
        self._print(in_words(bound.plan, who, group_names(bound.optimizer), bound.notes))

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        """Let a plateau decide on what an evaluation during the training has found."""
        bound, trainer = self._trainer.lr_scheduler, self._trainer
        reaction = bound.plan.reaction if isinstance(bound, _Followed) else None
        # Before the first update, as with `eval_on_start`, nothing was trained that could have improved.
        if reaction is None or not trainer.is_in_train or not state.global_step:
            return
        self._metrics |= {*metrics}
        # As transformers takes the name of a metric: with or without its prefix.
        name = next((one for one in (reaction.monitor, f"eval_{reaction.monitor}") if one in metrics), None)
        before = bound.planned_lrs[0]
        if name is not None and bound.observe(metrics[name]):
            self._print(f"{name} has stopped improving, LR {before:g} -> {bound.planned_lrs[0]:g}")
        if name is None and not self._is_of_another(reaction.monitor, metrics):
            known = sorted(self._metrics)
            raise ValueError(
                f"monitor={reaction.monitor!r}{checks.nearest(reaction.monitor, known)}: the evaluation has no such "
                f"metric; it has {', '.join(known)}"
            )

    def _is_of_another(self, monitor: str, metrics: dict[str, float]) -> bool:
        """Whether a metric is one of another data set, where several are evaluated one after another."""
        data, metric = self._trainer.eval_dataset, monitor.removeprefix("eval_")
        names = data if isinstance(data, dict) else ()
        others = [name for name in names if not any(one.startswith(f"eval_{name}_") for one in metrics)]
        return any(metric.startswith(f"{name}_") for name in others)

    def _print(self, text: str) -> None:
        from tqdm.auto import tqdm  # type: ignore[import-untyped] # the Trainer's bar, which makes room

        if self._trainer.is_world_process_zero():
            tqdm.write(checks.visible(text))


@cache
def _callback_kind() -> Any:
    from transformers import TrainerCallback

    return type("ScheduleFollower", (_Follower, TrainerCallback), {})
