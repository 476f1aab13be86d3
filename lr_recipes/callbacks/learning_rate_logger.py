"""The callback that records the LR of every update, compares it with the plan, and shows it.

It looks and never writes an LR: ``optimizer/recorder.py`` reads at each step, ``report/`` makes the file, the
comparison and the picture. Here stands when they are asked, and what Lightning's loggers and progress bar are given.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from lr_recipes import checks
from lr_recipes.callbacks.base import Remembering, leave_out
from lr_recipes.callbacks.first_epoch import FirstEpoch
from lr_recipes.callbacks.fit import Fit
from lr_recipes.callbacks.folder import Folder
from lr_recipes.callbacks.foretelling import Told, foretell, in_a_line, lengths_of, other_lengths
from lr_recipes.callbacks.learning_rate_scheduler import opening_notes
from lr_recipes.callbacks.lightning import LightningModule, Trainer, batches_that_stepped, callbacks_of
from lr_recipes.callbacks.own_code import own_code
from lr_recipes.callbacks.telling import end_bar, show_in_cell, tell, warn
from lr_recipes.callbacks.to_loggers import NAMES, ToLoggers, monitor_labels, monitor_names, own_names
from lr_recipes.optimizer import as_built
from lr_recipes.optimizer.clock import Clock
from lr_recipes.optimizer.follow import BoundSchedule
from lr_recipes.optimizer.foretold import Foretold
from lr_recipes.optimizer.groups import group_names
from lr_recipes.optimizer.recorder import LearningRateError, Recorder
from lr_recipes.optimizer.warmup import WarmupOver
from lr_recipes.plan.plan import Plan
from lr_recipes.plan.state import COUNT, TEXT, ByName, Entries
from lr_recipes.report.audit import AUDIT, Audit, ForecastAudit
from lr_recipes.report.backlog import Backlog
from lr_recipes.report.foretold import Forecast
from lr_recipes.report.lr_csv import LrCsv, columns_of, with_replacement
from lr_recipes.report.picture import draw, draw_many
from lr_recipes.report.words import few, in_words, with_gap

__all__ = ["LearningRateError", "LearningRateLogger"]

AUDITS = ("warn", "error")
_ANSWERS = ("warn", "error", "off")
_COMPLETE = 0.95  # share of the schedule below which its end is worth a warning
_AT_ONCE = 8  # more optimizers than this share one picture, and more files are not all named


@checks.explains_arguments
class LearningRateLogger(Remembering):
    """Records the used LR, momentum and weight decay of every group at every update, and compares it with the plan.

    The used LR is read when the optimizer really steps. It goes to ``lr.csv`` (every update), to the Trainer's loggers
    (every ``log_every_n_steps`` updates, as ``lr/<group>``) and to the progress bar; at the end ``lr.png`` is drawn and
    one line says whether used and planned were equal. With several optimizers each has a file, ``lr-<optimizer>.csv``,
    and a picture; more than eight share one, ``lr.png``. The loggers are also given the plan, that line and the
    picture, where each has a place for them (``docs/loggers.md``); one that fails ends no run.

    Once the first update is done, no file that cannot be written ends a run: rows wait in memory and are tried again,
    one warning says so, and the closing line how many updates the record lacks. Where another run records into the same
    folder, this one's file is ``lr.2.csv``.

    Args:
        dirpath: folder of ``lr.csv`` and ``lr.png``, a path or a URL; by default the folder of the Trainer's first
            logger, else its ``default_root_dir``. To a URL they are copied with each checkpoint and when the run ends.
        audit: what to do when an update did not use the planned LR: ``"warn"`` or ``"error"``.
        plot: draw ``lr.png``.
        findings: what to do when a scheduler of the module's own will not do what it was meant to: ``"warn"``,
            ``"error"`` before the first update, or ``"off"``.
        names: of the loggers' metrics: ``"groups"`` for ``lr/<group>``; ``"monitor"`` for those that Lightning's
            ``LearningRateMonitor`` writes, momentum and weight decay with them: ``lr-AdamW``, ``lr-AdamW/pg1``,
            ``lr-AdamW-momentum``.
        summary: give the loggers the plan, the closing line and the picture too.

    Attributes:
        forecast: what the module's own schedulers were foretold to do, from the first batch on; ``None`` where a
            LearningRateScheduler owns every LR.

    Raises:
        ValueError: an argument is unknown.
        OSError: the folder cannot be written (before the first update).
        LearningRateError: with ``audit="error"``, at the first update that did not use the planned LR; with
            ``findings="error"``, before the first update.

    Example:
        >>> from lr_recipes import LearningRateLogger
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[LearningRateLogger()], max_epochs=1, accelerator="cpu", logger=False)
    """

    form = Entries(
        {"files": ByName(TEXT, TEXT), "audits": ByName(TEXT, AUDIT), "positions": ByName(TEXT, COUNT)},
        agree=lambda state: (
            ""
            if set(state["files"]) == set(state["audits"]) == set(state["positions"])
            else "files, audits and positions are not of the same optimizers"
        ),
    )

    def __init__(
        self,
        dirpath: str | Path | None = None,
        audit: str = "warn",
        plot: bool = True,
        findings: str = "warn",
        names: str = "groups",
        summary: bool = True,
    ) -> None:
        super().__init__()
        checks.folder("dirpath", dirpath)
        self.dirpath = dirpath
        self.audit = checks.one_of("audit", audit, AUDITS)
        checks.flag("plot", plot)
        self.plot = plot
        self.findings = checks.one_of("findings", findings, _ANSWERS)
        self.names = checks.one_of("names", names, NAMES)
        checks.flag("summary", summary)
        self.summary = summary
        self.forecast: Forecast | None = None
        self._first_epoch: FirstEpoch | None = None
        self._noting = ExitStack()
        self._lengths: list[dict[str, Any]] = []
        self._records: dict[str, _Record] = {}
        self._folder: Folder | None = None
        self._bar: Any = None
        self._loggers: ToLoggers | None = None
        self._scaled = self._begun = self._uncounted_told = False

    # Hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Watch until ``on_fit_start`` which schedulers are made, and on what."""
        super().setup(trainer, pl_module, stage)
        self._noting.close()
        if stage == "fit":
            self._noting.enter_context(as_built.noting())

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse optimizers that cannot be watched, and note how long schedulers last that a checkpoint may change."""
        self._begun = self._uncounted_told = False
        self.forecast = self._first_epoch = None
        self._noting.close()
        Fit.of(trainer)
        self._lengths = lengths_of([one.scheduler for one in trainer.lr_scheduler_configs])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let Lightning call us at the first batch.

        All state is restored, but callbacks behind us have not had this hook yet: plans may be missing, so no file is
        opened.
        """
        leave_out(self, LearningRateLogger)  # a second fit: what the first one left out is there again
        Fit.of(trainer).settle()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Begin at the first batch: now every callback has taken its part in the fit, in whatever order.

        Only once: afterwards Lightning passes over this hook.
        """
        if not self._begun:
            self._begin(trainer)
            leave_out(self, LearningRateLogger, "on_train_batch_start", *self._idle_hooks(trainer, pl_module))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Note the step: a gradient scaler that finds an overflow will not call the optimizer.

        With a scaler Lightning calls this after ``backward`` and outside the optimizer's step; whether there is an
        overflow is known to the scaler, on the device, and not here.
        """
        for record in self._records.values() if self._scaled else ():
            if record.clock.optimizer is optimizer:
                record.recorder.announce()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Send the latest LRs to the loggers now and then.

        Every step of this batch is done, and the module's schedulers have been stepped: so what is sent was kept when
        the optimizer stepped, and is not what the groups hold now.
        """
        for record in self._records.values() if self._scaled else ():
            record.recorder.settle()
        self._log_now_and_then(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what is still in memory: a pause that may be long, before ModelCheckpoint's hook of the same name."""
        self._flush()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say after the first epoch how often schedulers were ticked that nobody could foretell the ticks of.

        Not when that epoch ends: a module's own hooks come after those of callbacks.
        """
        super().on_train_epoch_start(trainer, pl_module)
        if self._first_epoch is not None:
            for sentence in self._first_epoch.in_words():
                tell(trainer, sentence)
            self._first_epoch = None

    def complain(self, trainer: Trainer, uncounted: str) -> None:
        """Say it once: a record that is empty must not end a training."""
        if not self._uncounted_told:
            self._uncounted_told = True
            warn(trainer, uncounted)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the pictures and say what came out, below the bar's last state.

        All updates are done and all validations over; Lightning's loggers are not finalized yet.
        """
        self._flush()
        self.remember(trainer)  # first: once the records are closed there is no state to be had
        end_bar(trainer)
        lines = {record: record.closing_line() for record in self._records.values()}
        pictures = self._draw(trainer, lines) if self.plot else []
        files = [*pictures, *(record.path.name for record in lines)]
        for record, line in lines.items():
            tell(trainer, f"Learning rate{record.suffix}: {line}")
            if not trainer.fast_dev_run:  # type: ignore[attr-defined]
                record.warn_if_short(trainer)
        self._tell_outcome(trainer, lines, pictures)  # last: a logger behind a network may take its time
        folder = self._folder
        self._close()
        if folder is not None and files:  # where they are, now that they have been copied there, or could not be
            first, *others = map(folder.shown, files)
            names = [os.path.basename(one) for one in others]
            if len(names) > _AT_ONCE:
                names[3:-1] = [f"... {len(names) - 4:,} more files ..."]
            tell(trainer, f"See {', '.join([first, *names])}")
            for name in pictures:
                show_in_cell(folder.path / name)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Lose nothing: write what is still in memory, and say how far the run came.

        Lightning calls this wherever the run was: perhaps before the first batch, when there is no record.
        """
        end_bar(trainer)
        lines = {record: record.closing_line() for record in self._records.values()}
        for record, line in lines.items():
            tell(trainer, f"Learning rate{record.suffix}: {line}, see {record.folder.shown(record.path.name)}")
        self._tell_outcome(trainer, lines)
        super().on_exception(trainer, pl_module, exception)
        self._close()

    def _positions(self) -> dict[str, int]:
        return self._state.get("positions", {})  # type: ignore[no-any-return]

    def now(self) -> dict[str, Any]:
        """Return where the files are and what was counted so far, as plain values.

        What is still in memory is written first: a run that goes on from a checkpoint misses no row and no count.
        """
        self._flush(strict=False)  # whoever saves a checkpoint is not to be kept from it
        if self._folder is None or not self._records:
            return {}
        self._folder.publish()
        return {
            "files": {name: self._folder.address(one.path.name) for name, one in self._records.items()},
            "audits": {name: record.audit.state_dict() for name, record in self._records.items()},
            "positions": {name: record.clock.position for name, record in self._records.items()},
        }

    # What the hooks do

    def _begin(self, trainer: Trainer) -> None:
        """Open the files and begin to watch the optimizers."""
        self._begun = True
        self._close()  # should another callback have kept us from the end of the fit before
        fit = Fit.of(trainer)
        fit.start()
        self._show_plans(trainer, fit)
        self._foretell(trainer, fit)
        # `log_dir` sends its value from the first process to the others, so all must ask; the record is the first's
        # alone.
        folder = self.dirpath or trainer.log_dir or trainer.default_root_dir
        if trainer.is_global_zero:
            self._folder = Folder(folder, partial(warn, trainer))
            samples = fit.samples_per_step()
            for name, clock in fit.clocks.items():
                self._records[name] = self._record(trainer, name, clock, self._folder, samples)
            for record in self._records.values():
                record.introduce(trainer)
            if self._folder.url:
                self._folder.publish()  # should it fail, that is said now
                note = (
                    "what is recorded is copied there with each checkpoint and when the run ends; until then it is in"
                )
                tell(trainer, f"{self._folder.url}: {note} {self._folder.path}")
            self._loggers = ToLoggers(trainer)
            if self.names == "monitor":
                optimizers = [record.clock.optimizer for record in self._records.values()]
                labels = monitor_labels(trainer.lr_scheduler_configs, optimizers)
                for place, record in enumerate(self._records.values()):
                    record.labels = labels[place]
            if self.summary:
                self._loggers.plan(self._plans(), batches_that_stepped(trainer))
            self._scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
            self._show_in(trainer.progress_bar_callback)

    def _show_plans(self, trainer: Trainer, fit: Fit) -> None:
        """Show the plans of schedules that the module has bound to its optimizers; of others their callback does."""
        for name, clock in fit.clocks.items():
            bound = clock.owner
            if clock.bound and isinstance(bound, BoundSchedule):
                bound.adopt()  # what was planned when the optimizers were built may have become another run
                notes = opening_notes(fit, name, bound, bound.differences, bound.loaded_over)
                tell(trainer, in_words(bound.plan, name, group_names(bound.optimizer), notes))

    def _foretell(self, trainer: Trainer, fit: Fit) -> None:
        """Say what schedulers of the module's own will do, and what is wrong with them."""
        owners = [clock.owner for clock in fit.clocks.values()]
        if not owners or all(isinstance(owner, BoundSchedule) for owner in owners):
            return
        try:
            self.forecast = foretell(trainer, trainer.lightning_module, self._told(trainer, fit))
        except Exception as error:  # whatever is unknown about a run: no reason not to train
            tell(trainer, f"No learning-rate forecast: {in_a_line(error)}")
            return
        for clock, outlook in zip(fit.clocks.values(), self.forecast.outlooks, strict=True):
            if clock.owner is None and outlook.is_known:
                clock.foretold = Foretold(outlook.plan, clock, outlook.known_lrs, lambda: trainer.global_step)
        theirs = [
            outlook
            for outlook, owner in zip(self.forecast.outlooks, owners, strict=True)
            if not isinstance(owner, BoundSchedule)
        ]
        if not all(outlook.is_known for outlook in theirs):
            schedulers = [one.scheduler for one in trainer.lr_scheduler_configs]
            schedulers = [one for one in schedulers if not isinstance(one, BoundSchedule)]
            self._first_epoch = FirstEpoch(schedulers, list(fit.clocks.values()), trainer.max_epochs)
        tell(trainer, replace(self.forecast, outlooks=theirs).in_words(with_findings=False))
        found = [f"{one.name}: {one.message}" for one in self.forecast.findings]
        if self.findings == "error" and found:
            raise LearningRateError("; ".join(found))
        for sentence in found if self.findings == "warn" else ():
            warn(trainer, sentence)

    def _told(self, trainer: Trainer, fit: Fit) -> Told:
        owners = [clock.owner for clock in fit.clocks.values()]
        return Told(
            [clock.optimizer for clock in fit.clocks.values()],
            trainer.lr_scheduler_configs,
            fit.horizon(),
            factors={
                number: (owner.plan.curve.factor, owner.own_lrs)
                for number, owner in enumerate(owners)
                if isinstance(owner, WarmupOver)
            },
            lengths=other_lengths([one.scheduler for one in trainer.lr_scheduler_configs], self._lengths),
        )

    def _record(self, trainer: Trainer, name: str, clock: Clock, folder: Folder, samples: int | None) -> _Record:
        fit = Fit.of(trainer)
        suffix = f"-{name}" if len(fit.clocks) > 1 else ""
        before = fit.begun_anew.get(name)  # the record of the schedule before is not this one's beginning
        state = self._state if before is None else {}
        counts = state.get("audits", {}).get(name, {})  # also at position 0: steps may have been skipped
        kind = ForecastAudit if clock.owner is None and clock.foretold is not None else Audit
        earlier = state.get("files", {}).get(name)
        file = folder.own(earlier, f"lr{suffix}.csv")
        history = folder.earlier(earlier, file, trainer.ckpt_path) if clock.position else None
        audit = kind.going_on(counts)
        if isinstance(audit, ForecastAudit):
            audit.guess = partial(_who_touches_groups, trainer)
        recorder = Recorder(
            clock,
            audit,
            epoch=lambda: trainer.current_epoch,
            samples_per_step=samples,
            tell=partial(warn, trainer),
            strict=self.audit == "error",
        )
        late = recorder.groups[fit.group_counts[name] :]
        audit.late.update(dict.fromkeys(late, clock.position))
        record = _Record(name, suffix, clock, recorder, audit, folder)
        try:
            if before is not None:
                record.keep(trainer, before)
            record.open(trainer, file, history)
        except OSError as error:
            raise OSError(
                f"dirpath={str(folder.path)!r}: {file} cannot be written there ({error.strerror or error}); give "
                "LearningRateLogger a folder that can be written"
            ) from error
        return record

    def _idle_hooks(self, trainer: Trainer, pl_module: LightningModule) -> list[str]:
        """The hooks at every update that have nothing to do in this run."""
        idle: list[str] = []
        # Under a scaler both are needed: to see that a step was announced, and that it did not come.
        if self._scaled and self._records:
            return idle
        idle.append("on_before_optimizer_step")
        logs = bool(self._records and trainer.loggers and trainer.log_every_n_steps)  # type: ignore[attr-defined]
        if not logs or pl_module.automatic_optimization:
            idle.append("on_train_batch_end")
        if logs and pl_module.automatic_optimization:  # one update a batch at most: no need to wait for its end
            (record, *_) = self._records.values()
            record.recorder.after_update = partial(self._log_now_and_then, trainer)
        return idle

    def _log_now_and_then(self, trainer: Trainer) -> None:
        step = batches_that_stepped(trainer)  # the x of Lightning's own metrics of this batch
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        updated = [record for record in self._records.values() if record.recorder.take_updates()]
        # Lightning's own rule for `log_every_n_steps`: with 50, the first that is logged is the one with x = 49.
        if updated and every and (step + 1) % every == 0:
            metrics = {name: value for record in updated for name, value in record.metrics().items()}
            if metrics and self._loggers is not None:
                self._loggers.metrics(metrics, step)

    def _plans(self) -> dict[str, str | bool]:
        """What the loggers are told before the first update: the schedules, and the plan or forecast of each."""
        told = [record.in_words() for record in self._records.values()]
        if self.forecast is not None:
            foretold = [(outlook.kinds, outlook.in_words()) for outlook in self.forecast.outlooks]
            told = [mine or other for mine, other in zip(told, foretold, strict=True)]
        kinds, plans = zip(*filter(None, told), strict=True) if any(told) else ((), ())
        return {"schedule": _in_a_text(kinds, "; "), "plan": _in_a_text(plans, "\n")} if kinds else {}

    def _tell_outcome(self, trainer: Trainer, lines: Mapping[_Record, str], pictures: Sequence[str] = ()) -> None:
        """Tell the loggers what came of the run, at the x of its last update."""
        if self._loggers is None or not self.summary or not lines:
            return
        step = max(batches_that_stepped(trainer) - 1, 0)
        each = [f"{record.name}: {line}" if len(lines) > 1 else line for record, line in lines.items()]
        verdicts = [record.as_planned for record in lines if record.as_planned is not None]
        judged: dict[str, str | bool] = {"used_is_planned": all(verdicts)} if verdicts else {}
        self._loggers.outcome({"closing_line": _in_a_text(each, "\n"), **judged}, step)
        for name in pictures:
            self._loggers.picture(next(iter(lines)).folder.path / name, step)

    def _show_in(self, bar: Any) -> None:
        """Add the LR to what the progress bar shows, as text: numbers are cut to three decimals there."""
        if bar is None:
            return
        # Lightning's `log(..., prog_bar=True)` would put the LR among the run's metrics too; `get_metrics` is the bar's
        # public way to show something else. Replaced on the object: the class may have other bars.
        shown = bar.get_metrics

        def get_metrics(trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
            lrs = {f"lr{record.suffix}": record.shown() for record in self._records.values()}
            return {**shown(trainer, pl_module), **lrs}

        self._bar = bar
        bar.get_metrics = get_metrics

    def _flush(self, strict: bool = True) -> None:
        for record in self._records.values():
            record.recorder.flush(strict)

    def _draw(self, trainer: Trainer, lines: Mapping[_Record, str]) -> list[str]:
        """Draw a picture for each optimizer, or where they are many one for all; return the names of the files."""
        drawn = {record: line for record, line in lines.items() if record.clock.position}
        pictures: dict[Path, Callable[[], None]] = {
            record.picture: partial(record.draw, line) for record, line in drawn.items()
        }
        if len(drawn) > _AT_ONCE:
            sources = {record.name: record.path for record in drawn}
            together = next(iter(drawn)).folder.path / "lr.png"
            pictures = {together: partial(draw_many, sources, together, f"{len(drawn)} optimizers")}
        done, failed = [], []
        for picture, draw_it in pictures.items():
            try:
                draw_it()
                done.append(picture.name)
            except ImportError as error:
                warn(trainer, f"the record is not drawn as {picture.name}: {error}, or give plot=False")
                break
            except Exception as error:  # of the disk, of matplotlib: the training that is done is not to fail by it
                failed.append(f"{picture.name} ({error})")
        if failed:
            warn(trainer, f"the record cannot be drawn: {', '.join(failed)}; make room for it, or give plot=False")
        return done

    def _close(self) -> None:
        for record in self._records.values():
            record.close()
        self._records, self._loggers = {}, None
        if self._folder is not None:
            self._folder.close()
            self._folder = None
        if self._bar is not None:
            del self._bar.get_metrics  # the class's own is there again
            self._bar = None


def _in_a_text(texts: Sequence[str], between: str) -> str:
    """Texts of optimizers, of very many the first few and the last."""
    shown = [texts[k] for k in few(len(texts))]
    return between.join(with_gap(shown, len(texts), "optimizers"))


def _who_touches_groups(trainer: Trainer) -> str:
    code = own_code(trainer.lightning_module, callbacks_of(trainer))
    return " or ".join(sorted({*code.touches}))


class _Record:
    """What is recorded of one optimizer: the recorder, its file, and what is said about it."""

    def __init__(self, name: str, suffix: str, clock: Clock, recorder: Recorder, audit: Audit, folder: Folder) -> None:
        self.name, self.suffix, self.folder = name, suffix, folder
        self.clock, self.recorder, self.audit = clock, recorder, audit
        self.labels: list[str] = []  # where the loggers' names are the monitor's

    def keep(self, trainer: Trainer, position: int) -> None:
        """Keep the record of an earlier schedule, which came to ``position``, beside the one that begins now."""
        older = self.folder.earlier(None, f"lr{self.suffix}.csv")
        if older is not None:
            kept = f"lr{self.suffix}-until-{position}.csv"
            with_replacement(self.folder.path / kept, partial(shutil.copyfile, older))
            tell(trainer, f"The record of the schedule before is kept as {self.folder.shown(kept)}")

    def open(self, trainer: Trainer, name: str, history: Path | None) -> None:
        """Open the file, and begin to watch."""
        self._asked_for = name
        file = LrCsv(self.folder.path / name, columns_of(self.recorder.names()), self.clock.position, history)
        self._rows_before = file.rows
        self.file = self.recorder.file = Backlog(file, partial(warn, trainer))
        self.clock.witnesses.append(self.recorder)

    def introduce(self, trainer: Trainer) -> None:
        """Say where the record is, if not where it was to be, and what it lacks from the start."""
        file, position = self.file.file, self.clock.position
        if self.path.name != self._asked_for:
            warn(
                trainer,
                f"another run records into {self.folder.shown(self._asked_for)}: this one's record is "
                f"{self.path.name}; give each run a folder of its own",
            )
        # Rows of updates 0 to `position - 1` are kept: update `position` is the next that this run does.
        if position and file.kept < position:
            there = f"{self.folder.shown(self.path.name)} has rows for {file.kept:,} of the"
            tell(
                trainer,
                f"{there} {checks.counted(position, 'update')} before this one; the others were not recorded, or their "
                "lines were damaged",
            )

    def close(self) -> None:
        """Write what is still in memory, stop watching and close the file."""
        self.recorder.flush(strict=False)
        self.clock.witnesses.remove(self.recorder)
        self.file.close()

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.file.file.path

    @property
    def picture(self) -> Path:
        """Where the picture is to be."""
        return self.path.with_suffix(".png")

    @property
    def plan(self) -> Plan | None:
        """The plan that was carried out, if there was one for every update, or what was foretold."""
        owner, foretold = self.clock.owner, self.clock.foretold
        if owner is None:
            return None if foretold is None else foretold.plan
        return None if self.audit.unplanned else owner.plan

    def metrics(self) -> dict[str, float]:
        """Return what the last update used, under the names that the loggers show."""
        return monitor_names(self.recorder, self.labels) if self.labels else own_names(self.recorder, self.suffix)

    def in_words(self) -> tuple[str, str] | None:
        """Return the schedule, and its plan as a block; nothing where other schedulers have their part in the LR."""
        owner = self.clock.owner
        if not isinstance(owner, BoundSchedule):
            return None
        planned = self.recorder.present[: len(owner.plan.base_lrs)]  # a group may have joined before the first batch
        return repr(owner.plan.schedule), in_words(owner.plan, self.name, planned)

    @property
    def as_planned(self) -> bool | None:
        """Whether every update used what was planned or foretold; ``None`` where there is nothing to compare with."""
        known = self.clock.teller is not None and self.plan is not None and self.audit.known
        return not self.audit.different if known else None

    def shown(self) -> str:
        """Return the last used LR for the progress bar."""
        lr = self.recorder.last_lrs[0]
        return "none" if lr is None else f"{float(lr):.3g}"

    def closing_line(self) -> str:
        """Write what is still in memory, if it can be, and return the sentence that ends a run."""
        self.recorder.flush(strict=False)
        self.file.flush(now=True)
        missing = max(self._rows_before + self.recorder.noted - self.file.file.count(), 0)
        teller, position = self.clock.teller, self.clock.position
        if teller is None or self.plan is None:
            return self.audit.closing_line(position, None, planned=False, missing=missing)
        reached = teller.reached if isinstance(teller, BoundSchedule) else position
        mark = teller.plan.horizon.mark
        return self.audit.closing_line(reached, teller.total, part=teller.part, missing=missing, mark=mark)

    def draw(self, title: str) -> None:
        """Draw the picture beside the file."""
        plan = self.plan
        groups = [] if plan is None or not plan.uniform else zip(self.recorder.present, plan.base_lrs, strict=False)
        draw(self.path, self.picture, f"{self.name}: {title}", dict(groups))

    def warn_if_short(self, trainer: Trainer) -> None:
        """Warn when the run ended well before its schedule did."""
        owner = self.clock.owner
        total = None if owner is None or self.plan is None or owner.part != "schedule" else owner.total
        if isinstance(owner, BoundSchedule) and total is not None and owner.reached < _COMPLETE * total:
            mark = owner.horizon.mark
            ended = f"{'' if owner.horizon.timed else 'update '}{mark(owner.reached)}"
            warn(
                trainer,
                f"the run ended at {ended} of the {mark(total)} that its schedule was made for, so the LR "
                "never came down to its planned end; give the schedule the length that the run really has",
            )
