"""The callback that records the LR of every update, compares it with the plan, and shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from lr_recipes.audit import Audit
from lr_recipes.callbacks.hooks import leave_out
from lr_recipes.callbacks.learning_rate_scheduler import LearningRateScheduler
from lr_recipes.callbacks.telling import end_bar, shortest, tell, warn
from lr_recipes.callbacks.trainer_facts import check_optimizers, forgets, horizon_of, optimizer_names
from lr_recipes.horizon import HorizonError
from lr_recipes.lr_csv import KINDS, LrCsv, columns_of
from lr_recipes.picture import draw
from lr_recipes.scheduler import BoundSchedule, completed_updates, group_names, read_momentum, took_effect

AUDITS = ("warn", "error")
_FLUSH_SECONDS = 1.0
_FLUSH_ROWS = 1000
_COMPLETE = 0.95


class LearningRateError(RuntimeError):
    """An update did not use the planned LR, and ``audit="error"`` asked to stop then."""


class LearningRateLogger(Callback):
    """Records the used LR, momentum and weight decay of every group at every update, and compares it with the plan.

    The used LR is read when the optimizer really steps. It goes to ``lr.csv`` (every update), to the Trainer's loggers
    (every ``log_every_n_steps`` updates, as ``lr/<group>``) and to the progress bar; at the end ``lr.png`` is drawn and
    one line says whether used and planned were equal. With several optimizers each has a file, ``lr-<optimizer>.csv``.

    Args:
        dirpath: folder of ``lr.csv`` and ``lr.png``; by default the folder of the Trainer's first logger, else its
            ``default_root_dir``.
        audit: what to do when an update did not use the planned LR: ``"warn"`` or ``"error"``.
        plot: draw ``lr.png``.

    Raises:
        ValueError: an argument is unknown.
        OSError: the folder cannot be written (when training starts).
        LearningRateError: with ``audit="error"``, at the first update that did not use the planned LR.

    Example:
        >>> from lr_recipes import LearningRateLogger
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[LearningRateLogger()], max_epochs=1, accelerator="cpu", logger=False)
    """

    def __init__(self, dirpath: str | Path | None = None, audit: str = "warn", plot: bool = True) -> None:
        if audit not in AUDITS:
            raise ValueError(f"audit={audit!r}: must be one of {', '.join(AUDITS)}")
        if dirpath is not None and not isinstance(dirpath, (str, Path)):
            raise ValueError(f"dirpath={dirpath!r}: must be the path of a folder, or None")
        self.dirpath = dirpath
        self.audit = audit
        self.plot = plot
        self._tracks: list[_Track] = []
        self._state: dict[str, Any] = {}
        self._bar: Any = None
        self._scaled = False

    # Hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier run, unless this one goes on from it."""
        if forgets(trainer, stage):
            self._state = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the files and begin to watch the optimizers."""
        check_optimizers(trainer)
        owner = next((one for one in _callbacks(trainer) if isinstance(one, LearningRateScheduler)), None)
        if owner is not None:
            owner.bind(trainer)  # its hooks on the optimizer must come before ours
        folder = Path(self.dirpath or trainer.log_dir or trainer.default_root_dir)  # asks all processes
        if trainer.is_global_zero:
            self._tracks = self._open(trainer, owner, folder)
            self._scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
            self._show_in(trainer.progress_bar_callback)
        leave_out(self, LearningRateLogger, *self._idle_hooks(trainer, pl_module))

    def _idle_hooks(self, trainer: Trainer, pl_module: LightningModule) -> list[str]:
        """The hooks at every update that have nothing to do in this run."""
        idle = []
        if all(track.bound is not None for track in self._tracks):
            idle.append("on_train_batch_start")
        if not (self._scaled and self._tracks):
            idle.append("on_before_optimizer_step")
            logs = bool(self._tracks and trainer.loggers and trainer.log_every_n_steps)  # type: ignore[attr-defined]
            if not logs or pl_module.automatic_optimization:
                idle.append("on_train_batch_end")
            if logs and pl_module.automatic_optimization:  # one update a batch at most: no need to wait for its end
                self._tracks[0].after_update = partial(self._log_now_and_then, trainer)
        return idle

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Watch the optimizers from the first batch on: now all other callbacks have their hooks on them."""
        for track in self._tracks:
            track.watch()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Note the step: a gradient scaler that finds an overflow will not call the optimizer."""
        for track in self._tracks if self._scaled else ():
            if track.optimizer is optimizer:
                track.announce()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Send the latest LRs to the loggers now and then."""
        for track in self._tracks if self._scaled else ():
            track.settle()
        self._log_now_and_then(trainer)

    def _log_now_and_then(self, trainer: Trainer) -> None:
        step = trainer.fit_loop.epoch_loop._batches_that_stepped  # the x of Lightning's own metrics of this batch
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        updated = [track for track in self._tracks if track.take_updates()]
        if updated and every and (step + 1) % every == 0:
            self._log(trainer.loggers, updated, step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what is still in memory."""
        self._flush()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the pictures and say what came out."""
        self._state = self.state_dict()
        end_bar(trainer)
        for track in self._tracks:
            line = track.closing_line()
            if self.plot:
                track.draw(line)
            tell(trainer, f"Learning rate{track.suffix}: {line}")
            if not trainer.fast_dev_run:  # type: ignore[attr-defined]
                track.warn_if_short()
        if self._tracks:
            tell(trainer, _where([path for track in self._tracks for path in track.files(self.plot)]))
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Lose nothing: write what is still in memory, and say how far the run came."""
        end_bar(trainer)
        for track in self._tracks:
            track.flush(strict=False)
            tell(trainer, f"Learning rate{track.suffix}: {track.closing_line()}, see {shortest(track.file.path)}")
        self._state = self.state_dict()
        self._close()

    def state_dict(self) -> dict[str, Any]:
        """Return where the files are and what was counted so far, as plain values.

        What is still in memory is written first: a run that goes on from a checkpoint misses no row and no count.
        """
        if not self._tracks:
            return self._state
        self._flush()
        return {
            "files": {track.name: str(track.file.path.resolve()) for track in self._tracks},
            "audits": {track.name: track.audit.state_dict() for track in self._tracks},
            "positions": {track.name: track.position for track in self._tracks},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a checkpoint's counts until training starts."""
        self._state = state_dict

    # What the hooks do

    def _open(self, trainer: Trainer, owner: LearningRateScheduler | None, folder: Path) -> list[_Track]:
        names = optimizer_names(trainer.optimizers)
        tracks = []
        for name, optimizer in zip(names, trainer.optimizers, strict=True):
            suffix = f"-{name}" if len(names) > 1 else ""
            bound = owner.plan_of(optimizer) if owner is not None else None
            saved = self._state.get("positions", {}).get(name)
            position = bound.position if bound is not None else saved or _position(trainer, optimizer)
            audit = Audit(**self._state.get("audits", {}).get(name, {})) if position else Audit()
            history = self._state.get("files", {}).get(name)
            try:
                samples = bound.horizon.samples_per_step if bound is not None else horizon_of(trainer).samples_per_step
            except HorizonError:  # nothing here needs the total
                samples = None
            track = _Track(trainer, optimizer, bound, name, suffix, audit, samples, position, self.audit == "error")
            track.open(folder, Path(history) if history else None)
            tracks.append(track)
        return tracks

    def _log(self, loggers: Sequence[Any], tracks: Sequence[_Track], step: int) -> None:
        metrics = {name: lr for track in tracks for name, lr in track.metrics().items()}
        for logger in loggers:
            logger.log_metrics(metrics, step=step)

    def _show_in(self, bar: Any) -> None:
        """Add the LR to what the progress bar shows, as text: numbers are cut to three decimals there."""
        if bar is None:
            return
        shown = bar.get_metrics

        def get_metrics(trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
            return {**shown(trainer, pl_module), **{f"lr{t.suffix}": t.shown() for t in self._tracks}}

        self._bar = bar
        bar.get_metrics = get_metrics

    def _flush(self) -> None:
        for track in self._tracks:
            track.flush()

    def _close(self) -> None:
        for track in self._tracks:
            track.close()
        self._tracks = []
        if self._bar is not None:
            del self._bar.get_metrics  # the class's own is there again
            self._bar = None


class _Update(NamedTuple):
    """What one update used; an LR may still be a tensor on a device."""

    position: int
    epoch: int
    phase: str
    factor: float | None
    lrs: list[Any]
    others: list[float | None]
    bases: Sequence[float]


# The values of a row: a flat tuple of numbers and text is no work for the garbage collector, however many wait.
_Row = tuple[Any, ...]


class _Track:
    """Watches one optimizer: what each of its steps uses, and whether it changes parameters."""

    def __init__(
        self,
        trainer: Trainer,
        optimizer: Optimizer,
        bound: BoundSchedule | None,
        name: str,
        suffix: str,
        audit: Audit,
        samples_per_step: int | None,
        position: int,
        strict: bool,
    ) -> None:
        self.trainer, self.optimizer, self.bound = trainer, optimizer, bound
        self.name, self.suffix = name, suffix
        self.audit, self.strict = audit, strict
        self.samples_per_step = samples_per_step
        self.position = position
        self.groups = group_names(optimizer)
        self._pending: list[_Update | _Row] = []
        self._last_lrs: list[Any] = [group["lr"] for group in optimizer.param_groups]
        self.after_update: Callable[[], None] | None = None
        self._announced = False
        self._updates = 0
        self._flush_at = 0.0
        self._handles: list[Any] = []

    def open(self, folder: Path, history: Path | None) -> None:
        """Open the file."""
        path = folder / f"lr{self.suffix}.csv"
        try:
            self.file = LrCsv(path, self._columns(), self.position, history)
        except OSError as error:
            raise OSError(
                f"dirpath={str(folder)!r}: {path.name} cannot be written there ({error.strerror}); give "
                "LearningRateLogger a folder that can be written"
            ) from error
        if self.position and self.file.kept < self.position:
            tell(
                self.trainer,
                f"{path} has {self.file.kept:,} of the {self.position:,} updates before this one; the others were not "
                "recorded, or their lines were damaged",
            )
        if self.bound is not None:
            self.bound.observers.append(self._on_stepped)

    def watch(self) -> None:
        """Watch an optimizer without a plan, which calls nobody, by hooks that come after those of its LR's owner."""
        if self.bound is None and not self._handles:
            self._handles = [
                self.optimizer.register_step_pre_hook(self._before_step),
                self.optimizer.register_step_post_hook(self._after_step),
            ]

    def close(self) -> None:
        """Write what is still in memory, stop watching and close the file."""
        self.flush(strict=False)
        if self.bound is not None:
            self.bound.observers.remove(self._on_stepped)
        for handle in self._handles:
            handle.remove()
        self.file.close()

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._uses = self._read()

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._on_stepped(took_effect(optimizer))

    def _on_stepped(self, counts: bool) -> None:
        """Record what the step that has just ended used, if it changed parameters."""
        self._announced = False
        if not counts:
            self.audit.skip(self.position)
            return
        if len(self.optimizer.param_groups) != len(self.groups):
            self._note_late_groups()
        update = self._uses if self.bound is None else self._read()
        self.position += 1
        self._updates += 1
        self._last_lrs = update.lrs
        if _on_device(update.lrs):
            self._pending.append(update)
        else:
            self._pending.append(self._row(update))
            self._judge(update)
        now = time.monotonic()
        if now >= self._flush_at or len(self._pending) >= _FLUSH_ROWS:
            self.flush()
        if self.after_update is not None:
            self.after_update()

    def _read(self) -> _Update:
        groups, bound = self.optimizer.param_groups, self.bound
        return _Update(
            self.position,
            self.trainer.current_epoch,
            "" if bound is None else bound.curve.phase(bound.position),
            None if bound is None else bound.planned_factor,
            [_snapshot(group["lr"]) for group in groups],
            [read_momentum(group) for group in groups] + [group.get("weight_decay") for group in groups],
            () if bound is None else bound.base_lrs,
        )

    def _judge(self, update: _Update, strict: bool = True) -> None:
        if update.factor is None:
            self.audit.compared += 1
            return
        found = self.audit.compare(update.position, update.lrs, update.bases, update.factor, self.groups)
        if found and self.strict and strict:
            raise LearningRateError(found)
        if found:
            warn(self.trainer, found)

    def flush(self, strict: bool = True) -> None:
        """Write the pending rows."""
        pending, self._pending = self._pending, []
        self._flush_at = time.monotonic() + _FLUSH_SECONDS
        read = [_read_back(one) if isinstance(one, _Update) else one for one in pending]
        self.file.write(self._row(one) if isinstance(one, _Update) else one for one in read)
        for one in read:
            if isinstance(one, _Update):
                self._judge(one, strict)

    def _row(self, update: _Update) -> _Row:
        samples = None if self.samples_per_step is None else (update.position + 1) * self.samples_per_step
        fixed = (update.position, update.epoch, samples, update.phase, update.factor)
        return (*fixed, *update.lrs, *self._present(update.others))

    def _present(self, others: list[float | None]) -> list[float | None]:
        """Momentum and weight decay of the groups that have them."""
        return [value for value, there in zip(others, self._there, strict=True) if there]

    def _columns(self) -> list[str]:
        groups = self.optimizer.param_groups
        momenta = [read_momentum(group) is not None for group in groups]
        decays = ["weight_decay" in group for group in groups]
        self._there = momenta + decays
        present = ([True] * len(groups), momenta, decays)
        names = {
            kind: [name for name, there in zip(self.groups, flags, strict=True) if there]
            for kind, flags in zip(KINDS, present, strict=True)
        }
        return columns_of(names)

    def _note_late_groups(self) -> None:
        self.flush()
        known = len(self.groups)
        self.groups = [*self.groups, *group_names(self.optimizer)[known:]]
        self.audit.late.update(dict.fromkeys(self.groups[known:], self.position))
        self.file.add_columns(self._columns())

    def announce(self) -> None:
        """Note that a step is about to be done, unless a gradient scaler skips it."""
        self.settle()
        self._announced = True

    def settle(self) -> None:
        """Take a step that was announced, and did not come, as skipped."""
        if self._announced:
            self.audit.skip(self.position)
        self._announced = False

    def take_updates(self) -> int:
        """Return how many updates there were since the last question."""
        updates, self._updates = self._updates, 0
        return updates

    def metrics(self) -> dict[str, float]:
        """Return the last used LRs under the names that the loggers show."""
        names = [f"lr{self.suffix}/{group}" for group in self.groups]
        return {name: float(lr) for name, lr in zip(names, self._last_lrs, strict=False)}

    def shown(self) -> str:
        """Return the last used LR for the progress bar."""
        return f"{float(self._last_lrs[0]):.3g}"

    def closing_line(self) -> str:
        """Return the sentence that ends a run."""
        total = None if self.bound is None else self.bound.horizon.total_steps
        return self.audit.closing_line(self.position, total, planned=self.bound is not None)

    def draw(self, title: str) -> None:
        """Draw the picture beside the file."""
        self.flush()
        peaks = {} if self.bound is None else dict(zip(self.groups, self.bound.base_lrs, strict=False))
        if self.position:
            draw(self.file.path, self.file.path.with_suffix(".png"), f"{self.name}: {title}", peaks)

    def files(self, plot: bool) -> list[Path]:
        """Return what was written: the picture, if there is one, and the file."""
        return [*([self.file.path.with_suffix(".png")] if plot and self.position else []), self.file.path]

    def warn_if_short(self) -> None:
        """Warn when the run ended well before its schedule did."""
        total = None if self.bound is None else self.bound.horizon.total_steps
        if total is not None and self.position < _COMPLETE * total:
            warn(
                self.trainer,
                f"the run ended at update {self.position:,} of the {total:,} that its schedule was made for, so the LR "
                "never came down to its planned end; give the schedule the length that the run really has",
            )


def _where(files: Sequence[Path]) -> str:
    """Say where the files are: the first as it can be typed here, then the names of those beside it."""
    return f"See {', '.join([shortest(files[0]), *(path.name for path in files[1:])])}"


def _snapshot(lr: Any) -> Any:
    """The LR as it is now: a number, or where reading it would wait for a device, a copy on that device."""
    if not isinstance(lr, torch.Tensor):
        return lr
    return float(lr) if lr.device.type == "cpu" else lr.clone()


def _on_device(lrs: list[Any]) -> bool:
    return isinstance(lrs[0], torch.Tensor)


def _read_back(update: _Update) -> _Update:
    """The update with numbers for LRs that are on a device."""
    return update._replace(lrs=[float(lr) for lr in update.lrs])


def _position(trainer: Trainer, optimizer: Optimizer) -> int:
    """Updates so far of an optimizer that no schedule of ours follows."""
    if trainer.global_step == 0:
        return 0
    counted = completed_updates(optimizer)
    return trainer.global_step if counted is None else counted


def _callbacks(trainer: Trainer) -> list[Callback]:
    return trainer.callbacks  # type: ignore[attr-defined, no-any-return]
