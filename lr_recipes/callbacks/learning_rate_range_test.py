"""The LR range test: as a callback of a run, whose suggestion becomes the peak of its schedule, and as a function.

Here stands when a sweep is made and what becomes of it; its updates are in ``sweep_loop.py``, its maths in ``sweep/``.
"""

from __future__ import annotations

import inspect
import tempfile
import warnings
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from lr_recipes import checks
from lr_recipes.callbacks.base import Remembering, leave_out
from lr_recipes.callbacks.fit import Fit, goes_on_from
from lr_recipes.callbacks.folder import Folder
from lr_recipes.callbacks.lightning import (
    LightningDataModule,
    LightningModule,
    ProgressBar,
    Trainer,
    callbacks_of,
    hushed,
    options_of_trainer,
    trainer_for,
)
from lr_recipes.callbacks.sweep_loop import SweepError, run_sweep, schedulers_of, step_hooks
from lr_recipes.callbacks.telling import live_display_aside, tell, warn
from lr_recipes.callbacks.training_state import TrainingState
from lr_recipes.optimizer import internals
from lr_recipes.optimizer.as_built import note_peak, peak_lrs
from lr_recipes.optimizer.groups import group_names, refuse_own_warmup
from lr_recipes.plan.state import TEXT, Entries, ListOf, Maybe, Value
from lr_recipes.sweep.result import PEAK, RULES, DivergenceWatch, RangeTest, Sweep

FILES = ("range_test.csv", "range_test.json", "range_test.png")
# What a Trainer that only makes a range test has no use for.
_QUIET = {"max_epochs": 1, "enable_model_summary": False}
_NOT_NEEDED = {
    "logger": False,
    "enable_checkpointing": False,
    "num_sanity_val_steps": 0,
    "limit_val_batches": 0,
    "enable_progress_bar": False,
    "fast_dev_run": False,
    "min_epochs": None,
    "min_steps": None,
}

_ABOVE_0 = Value("a finite number above 0", lambda value: checks.is_finite(value) and value > 0)


def _peak_agrees(state: dict[str, Any]) -> str:
    """0.1.0 saved the peak alone; else all is there, or nothing."""
    there = [state[part] is not None for part in ("peak", "groups", "before") if part in state]
    return "" if len(set(there)) == 1 else "peak is there without the groups that it is for, or these without it"


@checks.explains_arguments
class LearningRateRangeTest(Remembering):
    """Sweeps the LR upwards over some updates, suggests a peak LR, undoes the updates, and trains at that peak.

    The sweep is made when training begins, whatever the callback's place in the list, and leaves no trace: weights,
    buffers, optimizers, random generators, the order of the data, counters, callbacks and loggers are what they were.
    The suggestion then becomes the base LR of the optimizer's groups, which keep their ratios, so it is the peak of a
    ``LearningRateScheduler``, of a warmup and of torch's own schedulers. A run that goes on from a checkpoint makes no
    sweep: it goes on at the peak that was found.

    Args:
        min_lr: LR of the sweep's first update.
        max_lr: LR of its last update.
        num_training_steps: its updates, at least 10.
        mode: how the LR grows: ``"exponential"`` or ``"linear"``.
        divergence: the sweep stops when the smoothed loss is this many times its best.
        rule: the suggestion to use: ``"edge"`` for a schedule that warms up and decays; ``"steepest"``, ``"valley"``,
            ``"slide"`` or ``"minimum"``, which is a tenth of it, for an LR that is kept.
        apply: whether the suggestion becomes the peak; else it is only told.
        epoch: make the sweep when this epoch begins, counted from 0. A later one than 0 only tells its suggestion: the
            schedule is under way. ``None``: only when ``run`` is called.
        optimizer: index or name (``"Adam"``, ``"Adam-1"``, ...) of the optimizer whose LR is swept, where there are
            several; the others go on at their own LR.
        dirpath: folder of ``range_test.csv``, ``.json`` and ``.png``, a path or a URL; by default the folder of the
            Trainer's first logger, else its ``default_root_dir``.
        plot: draw ``range_test.png``.

    Attributes:
        result: what was measured, a ``RangeTest``; ``None`` before.

    Raises:
        ValueError: an argument is out of range; or, when training starts, the module or data cannot be swept.
        OSError: the folder cannot be written (when training starts).

    Example:
        >>> from lr_recipes import LearningRateRangeTest, LearningRateScheduler, schedules
        >>> from lightning.pytorch import Trainer
        >>> callbacks = [LearningRateRangeTest(), LearningRateScheduler(schedules.Cosine(warmup="5%"))]
        >>> trainer = Trainer(max_epochs=9, callbacks=callbacks, accelerator="cpu", logger=False)
    """

    form = Entries({"peak": Maybe(_ABOVE_0)}, {"groups": Maybe(ListOf(TEXT)), "before": Maybe(_ABOVE_0)}, _peak_agrees)

    def __init__(
        self,
        min_lr: float = 1e-7,
        max_lr: float = 10.0,
        num_training_steps: int = 100,
        mode: str = "exponential",
        divergence: float = 4.0,
        rule: str = PEAK,
        apply: bool = True,
        epoch: int | None = 0,
        optimizer: int | str | None = None,
        dirpath: str | Path | None = None,
        plot: bool = True,
    ) -> None:
        super().__init__()
        min_lr, max_lr, num_training_steps, divergence, epoch = map(
            checks.plain, (min_lr, max_lr, num_training_steps, divergence, epoch)
        )
        self.sweep = Sweep(min_lr=min_lr, max_lr=max_lr, num_training_steps=num_training_steps, mode=mode)
        DivergenceWatch(divergence)  # refuses a wrong one now
        checks.one_of("rule", rule, RULES)
        if epoch is not None and not checks.is_whole(epoch, least=0):
            raise ValueError(
                f"epoch={checks.brief(epoch)}: must be the number of an epoch, the first is 0, or None for none"
            )
        checks.countable("epoch", epoch or 0)
        checks.flag("apply", apply)
        checks.flag("plot", plot)
        checks.folder("dirpath", dirpath)
        if optimizer is not None and not isinstance(optimizer, str) and not checks.is_whole(optimizer, least=0):
            raise ValueError(
                f"optimizer={checks.brief(optimizer)}: must be the index or the name of one, as in 0, or None"
            )
        self.divergence, self.rule, self.apply, self.epoch = divergence, rule, apply, epoch
        self.optimizer, self.dirpath, self.plot = optimizer, dirpath, plot
        self.result: RangeTest | None = None
        self._peak: float | None = None
        self._groups: list[str] | None = None
        self._before: float | None = None
        self._module_hooks: frozenset[int] = frozenset()

    # Hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Go before all other callbacks: what they read when training starts is then the peak that was found.

        Here, for it must be done before ``on_fit_start``, where others note what was built; Lightning has sorted the
        callbacks for the last time.
        """
        others = [one for one in callbacks_of(trainer) if one is not self]
        trainer.callbacks = [self, *others]  # type: ignore[attr-defined] # a new list: the old one is being walked
        super().setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse early; in a run that goes on, set the peak that was found, before anybody notes what was built.

        The optimizers are built, our state is there, and the optimizers' state, which holds the LRs of the checkpoint,
        comes after this hook.
        """
        optimizer = self._chosen(trainer)
        refuse_own_warmup(optimizer)
        self._module_hooks = step_hooks(trainer)  # the other callbacks come later
        self.recall(Fit.of(trainer), goes_on_from(trainer))
        self._peak = self._state.get("peak")
        if self._peak is not None:
            tell(trainer, f"LR range test: not made again, this run goes on at the peak LR {self._peak:g}")
            self._groups, self._before = self._state.get("groups"), self._state.get("before")
            # Groups that have joined since have LRs of their own; and the one with the largest may have left.
            left = not set(self._groups or ()) <= set(group_names(optimizer))
            before = self._before if left else None
            set_peak(optimizer, schedulers_of(trainer), self._peak, self._groups, before)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the sweep of a run that starts, and use its suggestion.

        The data are set up and the model is on its device; the other callbacks have not had this hook yet, so no plan
        is made, and the peak that is set now is the one that they find. The module's ``on_train_start`` comes after all
        of them: the sweep calls it, and undoes what it did.
        """
        leave_out(self, LearningRateRangeTest)
        if self.epoch != 0 or goes_on_from(trainer) != "nothing":
            return
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            tell(trainer, "LR range test: left out, fast_dev_run only shows that the code runs")
            return
        result = self._test(trainer, ["on_train_start", "on_train_epoch_start"])
        if self.apply:
            self._use(trainer, result)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the sweep of a later epoch, before its first batch; the module's hook of this name is still to come."""
        if self.epoch and trainer.current_epoch == self.epoch:
            self._test(trainer, ["on_train_epoch_start"])

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the peak, should the same Trainer go on."""
        self.remember(trainer)

    def now(self) -> dict[str, Any]:
        """Return the peak that was set, for which groups, and in place of which, as plain values."""
        return {"peak": self._peak, "groups": self._groups, "before": self._before}

    # What the hooks do

    def run(self, trainer: Trainer, before_hooks: Sequence[str] = ()) -> RangeTest:
        """Make a sweep now, whatever the position, and change nothing; to be called in any hook of the training stage.

        The callback should be among the Trainer's: else step hooks that the module has put on its optimizers, which are
        then not told from those of callbacks, rest during the sweep.

        Args:
            trainer: a Trainer that trains.
            before_hooks: hooks of the module, such as ``on_train_epoch_start``, that Lightning has not yet called.
        """
        from tqdm.auto import tqdm  # type: ignore[import-untyped] # comes with Lightning, whose absence is to be said first

        optimizer, steps = self._chosen(trainer), self.sweep.num_training_steps
        hidden = not trainer.is_global_zero or not self._shows_bar(trainer)
        with (  # a live display of Rich and a bar of tqdm would draw over each other
            live_display_aside(trainer),
            tqdm(total=steps, desc="LR range test", disable=hidden, leave=False) as progress,
        ):

            def show(lr: float, loss: float) -> None:
                progress.set_postfix_str(f"lr {lr:.1e}, loss {loss:.4g}", refresh=False)
                progress.update()

            watch = DivergenceWatch(self.divergence)
            return run_sweep(
                trainer,
                self.sweep,
                watch,
                optimizer,
                before_hooks=before_hooks,
                module_hooks=self._module_hooks,
                progress=show,
            )

    def _shows_bar(self, trainer: Trainer) -> bool:
        """Whether the sweep has a bar: where the run has one."""
        bar = trainer.progress_bar_callback
        return getattr(bar, "is_enabled", bar is not None)  # one of somebody's own may not say whether it is: then so

    def _test(self, trainer: Trainer, before_hooks: Sequence[str]) -> RangeTest:
        """Make the sweep, write the files, tell what came out."""
        with Folder(self.dirpath or trainer.log_dir or trainer.default_root_dir, partial(warn, trainer)) as folder:
            writable(folder.path)  # before the work is done
            self.result = result = self.run(trainer, before_hooks)
            kept = keep(result, folder, partial(warn, trainer), self.plot) if trainer.is_global_zero else []
            where = f"\n  see {folder.shown(kept[-1])}" if kept else ""
            tell(trainer, f"{result.table}{where}")
        if result.stop == "interrupted":
            raise KeyboardInterrupt  # Ctrl-C was meant for the run: now that the sweep is undone and written, it ends
        return result

    def _use(self, trainer: Trainer, result: RangeTest) -> None:
        optimizer = self._chosen(trainer)
        before, peak = max(peak_lrs(optimizer, schedulers_of(trainer))), result.suggestions.get(self.rule)
        if peak is None:
            why = result.reason or f"the rule {self.rule!r} finds nothing on this curve"
            warn(trainer, f"the LR range test suggests nothing, so training goes on at LR {before:g}: {why}")
            return
        self._peak = peak
        self._groups, self._before = group_names(optimizer), before
        set_peak(optimizer, schedulers_of(trainer), peak)
        tell(trainer, f"LR range test: the peak LR is now {peak:g} ({self.rule}); it was {before:g}")

    def _chosen(self, trainer: Trainer) -> Optimizer:
        """The optimizer that is swept: the one that was named, or the only one."""
        fit = Fit.of(trainer)
        if self.optimizer is None and len(fit.optimizers) != 1:
            raise SweepError(
                f"the module has {checks.counted(len(fit.optimizers), 'optimizer')}: name the one to sweep, "
                f"optimizer={fit.listed()}"
            )
        try:
            return fit.optimizers[fit.key(0 if self.optimizer is None else self.optimizer, "optimizer")]
        except ValueError as error:
            raise SweepError(str(error)) from None


class _Alone(LearningRateRangeTest):
    """A range test in a Trainer of its own, which ends when the sweep does; Ctrl-C ends the sweep and nothing else.

    The Trainer shows no bar, for it trains nothing; ``bar`` says whether the sweep does.
    """

    bar = True

    def _shows_bar(self, trainer: Trainer) -> bool:
        return self.bar

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.result = self.run(trainer, ["on_train_start", "on_train_epoch_start"])
        trainer.should_stop = True


@checks.explains_arguments
def range_test(
    model: LightningModule,
    data: Any,
    *,
    min_lr: float = 1e-7,
    max_lr: float = 10.0,
    num_training_steps: int = 100,
    mode: str = "exponential",
    divergence: float = 4.0,
    optimizer: int | str | None = None,
    dirpath: str | Path | None = None,
    **trainer_options: Any,
) -> RangeTest:
    """Make an LR range test of a module, and leave the module as it is.

    Ctrl-C ends the sweep; what was measured until then is returned, without a suggestion.

    Args:
        model: the module; its optimizer's groups keep the ratios of their LRs.
        data: a training loader, or a ``LightningDataModule``.
        min_lr, max_lr, num_training_steps, mode, divergence, optimizer: see ``LearningRateRangeTest``.
        dirpath: folder for ``range_test.csv``, ``.json`` and ``.png``, a path or a URL; ``None``: nothing is written.
        trainer_options: Lightning's ``Trainer(...)``: precision, devices, accumulate_grad_batches, gradient_clip_val.

    Returns:
        What was found, with ``.table``, ``.plot()``, ``.to_csv()``, ``.suggestions``, ``.suggestion``.

    Raises:
        ValueError: an argument is out of range, or the module or data cannot be swept.
        OSError: the folder cannot be written.

    Example:
        >>> import torch
        >>> from lightning.pytorch.demos.boring_classes import BoringModel
        >>> from lr_recipes import range_test
        >>> quiet = {"accelerator": "cpu", "enable_progress_bar": False}
        >>> result = range_test(BoringModel(), torch.randn(8, 2, 32), max_lr=0.001, num_training_steps=50, **quiet)
        >>> len(result.lrs)
        50
    """
    of_trainer = options_of_trainer(model)
    for name in trainer_options:
        if name not in of_trainer:
            ours = list(inspect.signature(range_test).parameters)[:-1]
            said = checks.no_argument("range_test()", name, ours, of_trainer)
            raise TypeError(f"{said}, and what Lightning's Trainer takes")
    test = _Alone(min_lr, max_lr, num_training_steps, mode, divergence, optimizer=optimizer)
    if dirpath is not None:
        with Folder(dirpath, warnings.warn) as folder:
            writable(folder.path)
    # The sweep puts back what it uses; the Trainer draws beside it: the iterator of a DataLoader takes a seed from
    # torch.
    random = TrainingState()
    random.keep_random_numbers()
    given = trainer_options.pop("callbacks", None) or []
    others = given if isinstance(given, (list, tuple)) else [given]
    bars = [one for one in others if isinstance(one, ProgressBar)]  # which would have nothing to show
    wanted = trainer_options.get("enable_progress_bar") is not False
    test.bar = wanted and all(getattr(bar, "is_enabled", True) for bar in bars)
    callbacks = [test, *(one for one in others if one not in bars)]
    options = {**_QUIET, **trainer_options, **_NOT_NEEDED, "callbacks": callbacks}
    try:
        with hushed(model), warnings.catch_warnings():
            trainer = trainer_for(model, **options)
            warnings.filterwarnings("ignore", "You defined a `validation_step` but have no")  # none is wanted
            trainer.fit(model, **{"datamodule" if isinstance(data, LightningDataModule) else "train_dataloaders": data})
    finally:
        random.put_back()
    if test.result is None:
        raise SweepError(
            f"there is no training batch, so nothing can be measured: the loader is empty, or limit_train_batches="
            f"{trainer.limit_train_batches!r} leaves nothing of it"
        )
    if dirpath is not None and trainer.is_global_zero:
        with Folder(dirpath, warnings.warn) as folder:
            keep(test.result, folder, warnings.warn)
    return test.result


def set_peak(
    optimizer: Optimizer,
    schedulers: Sequence[Any],
    peak: float,
    groups: Collection[str] | None = None,
    before: float | None = None,
) -> None:
    """Make ``peak`` the largest base LR of an optimizer; its other LRs, and torch's schedulers on it, keep their ratio.

    Where one of torch's ``OneCycleLR`` and ``CyclicLR`` is on it, its largest ``max_lr`` becomes ``peak``.

    Args:
        optimizer: whose groups to change; a tensor LR is filled in place.
        schedulers: schedulers of torch, of which those of this optimizer are changed.
        peak: the LR.
        groups: names of the groups to change; ``None`` for all.
        before: the largest base LR until now; ``None`` for that of these groups.
    """
    names, peaks = group_names(optimizer), peak_lrs(optimizer, schedulers)
    among = [index for index, name in enumerate(names) if groups is None or name in groups]
    top = max(peaks[index] for index in among) if before is None else before
    # Built already, so they have taken their base LRs from the groups: into lists of their own, and `initial_lr`.
    ours = [one for one in internals.with_parts(schedulers) if getattr(one, "optimizer", None) is optimizer]
    keys = ["lr", "initial_lr"]
    if any(isinstance(one, OneCycleLR) for one in ours):
        keys += ["max_lr", "min_lr"]  # where it keeps what it anneals between
    done: set[int] = set()  # groups may share one tensor
    for index, key in product(among, keys):
        group = optimizer.param_groups[index]
        # Each times `peak / top`, so `lr` too keeps what a scheduler has already made of it, as LinearLR does at once.
        if isinstance(group.get(key), Tensor) and id(group[key]) not in done:
            done.add(id(group[key]))
            group[key].fill_(peak * (float(group[key]) / top))
        elif key in group and not isinstance(group[key], Tensor):
            group[key] = peak * (group[key] / top)
    for scheduler in ours:
        for name in internals.LR_LISTS:
            if hasattr(scheduler, name):
                lrs = enumerate(getattr(scheduler, name))
                setattr(scheduler, name, [peak * (lr / top) if index in among else lr for index, lr in lrs])
    note_peak(optimizer, peak)


def keep(result: RangeTest, folder: Folder, complain: Callable[[str], None], plot: bool = True) -> list[str]:
    """Write the files, the picture only where it is wanted; return the names of those that are there.

    A sweep that is made is not lost, and no training ends, because they cannot be written: that is said.
    """
    written: dict[str, Callable[[Path], Any]] = {FILES[0]: result.to_csv, FILES[1]: result.to_json}
    if plot:
        written[FILES[2]] = result.plot
    done: list[str] = []
    try:
        for name, write in written.items():
            write(folder.path / name)
            done.append(name)
    except ImportError as error:
        complain(f"the range test is not drawn as {FILES[2]}: {error}")
    except Exception as error:  # of the disk, of matplotlib
        complain(
            f"the files of the range test cannot be written ({error}); make room for them, or give another dirpath"
        )
        return []
    return done


def writable(folder: Path) -> Path:
    """Make a folder and return it, if a file can be written there.

    Raises:
        OSError: it cannot; found out before the sweep and not after it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise OSError(
            f"{folder} cannot be written ({error.strerror}): give the range test another folder, as dirpath"
        ) from error
