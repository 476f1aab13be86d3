"""The one door to Lightning: what is used of it, and every private part of it: a new version is checked here.

No other module of the package imports Lightning, and nothing is decided here.

Lightning is installed under two names, ``lightning`` and ``pytorch_lightning``, and the classes of the one are not
those of the other. What the user has imported is used, and nothing else is imported. So the classes here are for
``isinstance`` and for annotations, and mean both names; ``Callback`` is the one to derive from; and what has to be made
is of the library of the Trainer or the module that it is for.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import logging
import math
import sys
from abc import ABCMeta
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import FrameType
from typing import TYPE_CHECKING, Any

from torch.optim.swa_utils import SWALR

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
    from lightning.pytorch.callbacks import (
        EarlyStopping,
        GradientAccumulationScheduler,
        ModelCheckpoint,
        ProgressBar,
        RichProgressBar,
        StochasticWeightAveraging,
        Timer,
        TQDMProgressBar,
    )
    from lightning.pytorch.loggers.logger import DummyLogger
    from lightning.pytorch.strategies import ParallelStrategy
    from lightning.pytorch.utilities import CombinedLoader

__all__ = [
    "AfterHook",
    "Averaging",
    "Callback",
    "CombinedLoader",
    "GradientAccumulationScheduler",
    "LightningDataModule",
    "LightningModule",
    "ParallelStrategy",
    "ProgressBar",
    "RichProgressBar",
    "StochasticWeightAveraging",
    "TQDMProgressBar",
    "Timer",
    "Trainer",
    "accumulates_by_list",
    "averages",
    "averaging_of",
    "batches_that_stepped",
    "before_batch_transfer",
    "callbacks_of",
    "chosen_checkpoint",
    "combined_loader",
    "configuring",
    "dummy_logger",
    "epoch_is_whole",
    "hushed",
    "hyperparameters_of",
    "is_param_in_hook_signature",
    "logged_as",
    "loop_limits",
    "optimizers_of",
    "options_of_trainer",
    "quiet_profiler",
    "rank_zero_info",
    "rank_zero_warn",
    "reading_a_command_line",
    "reloads",
    "saved_with_batch",
    "set_up_training_data",
    "settings_of_command_line",
    "steps_of_this_epoch",
    "stops_early",
    "sums_up",
    "timers_of",
    "trainer_for",
    "training_results",
    "twin_of_combined",
    "validation_results",
    "value_of",
]

_LIBRARIES = {
    "lightning": "lightning.pytorch",
    "pytorch_lightning": "pytorch_lightning",
}  # package -> the library in it
_MALICIOUS = ("2.6.2", "2.6.3")  # releases that read the secrets of whoever imports them


def _imported() -> list[str]:
    """The libraries that are imported; where none is, the first that is installed."""
    return [library for library in _LIBRARIES.values() if library in sys.modules] or [_installed()]


def _installed() -> str:
    for package, library in _LIBRARIES.items():
        spec = find_spec(package)
        if spec and spec.origin:  # a folder of that name, in which somebody works, has none
            return library
    raise ImportError(
        "the callbacks of lr_recipes are for Lightning, and neither lightning nor pytorch_lightning is installed: "
        "pip install 'lr_recipes[lightning]' or 'lr_recipes[pytorch-lightning]'; a loop without Lightning uses "
        "schedules.Cosine().bind(optimizer, 1000)"
    )


def _refuse_malicious(package: str) -> None:
    """Refuse a release that does harm, which is asked of what is installed: to import it is the harm."""
    try:
        found = version(package)
    except PackageNotFoundError:  # on the path, and not installed
        return
    if found in _MALICIOUS:
        raise ImportError(
            f"{package} {found} is a malicious release, which reads the secrets of whoever imports it: change those of "
            f"this machine if it was imported before, and pip install '{package}!={',!='.join(_MALICIOUS)}'"
        )


for _library in _imported():
    _refuse_malicious(_library.partition(".")[0].replace("_", "-"))


def _library_of(one: Any) -> str:
    """The library that an object is of, or a class of the user's own that is derived from one of its classes."""
    packages = (kind.__module__.partition(".")[0] for kind in type(one).__mro__)
    return next((_LIBRARIES[package] for package in packages if package in _LIBRARIES), _imported()[0])


def _part(library: str, name: str) -> Any:
    module, _, attribute = f"{library}.{name}".rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _under_both_names(name: str) -> Any:
    """A class for ``isinstance``: an object is one of it that is one of Lightning's class of this name, or derived."""

    def is_derived(cls: type, kind: type) -> bool:
        return any(one.__name__ == name and one.__module__.partition(".")[0] in _LIBRARIES for one in kind.__mro__)

    return ABCMeta(name, (), {"__subclasshook__": classmethod(is_derived)})


if not TYPE_CHECKING:
    CombinedLoader, LightningDataModule, LightningModule, ParallelStrategy, Trainer = map(
        _under_both_names, ("CombinedLoader", "LightningDataModule", "LightningModule", "ParallelStrategy", "Trainer")
    )
    GradientAccumulationScheduler, ModelCheckpoint, StochasticWeightAveraging = map(
        _under_both_names, ("GradientAccumulationScheduler", "ModelCheckpoint", "StochasticWeightAveraging")
    )
    EarlyStopping, Timer = map(_under_both_names, ("EarlyStopping", "Timer"))
    ProgressBar, RichProgressBar, TQDMProgressBar = map(
        _under_both_names, ("ProgressBar", "RichProgressBar", "TQDMProgressBar")
    )

    class Callback(*(_part(library, "Callback") for library in _imported())):
        """A callback for Trainers of both libraries: derived from the ``Callback`` of each that is imported."""

        def __new__(cls, *args: Any, **kwargs: Any) -> Callback:
            # The other library may have been imported since. Its Trainer calls the hooks of any object in its list, but
            # takes a callback without a list for one only if it is derived from its own class.
            known = Callback.__bases__
            late = [kind for kind in (_part(one, "Callback") for one in _imported()) if kind not in known]
            if late:
                Callback.__bases__ = (*known, *late)
            return super().__new__(cls)


# Plain functions, the same in both.
is_param_in_hook_signature = _part(_imported()[0], "utilities.signature_utils.is_param_in_hook_signature")
rank_zero_info = _part(_imported()[0], "utilities.rank_zero_info")
rank_zero_warn = _part(_imported()[0], "utilities.rank_zero_warn")


def trainer_for(module: Any, **options: Any) -> Trainer:
    """Return a new Trainer of the library that a module is of."""
    trainer: Trainer = _part(_library_of(module), "Trainer")(**options)
    return trainer


def options_of_trainer(module: Any) -> list[str]:
    """Return what the Trainer of the library that a module is of can be called with."""
    return list(inspect.signature(_part(_library_of(module), "Trainer")).parameters)


def dummy_logger(trainer: Trainer) -> DummyLogger:
    """Return a logger for a Trainer that takes any call and does nothing."""
    logger: DummyLogger = _part(_library_of(trainer), "loggers.logger.DummyLogger")()
    return logger


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """Return the Trainer's callbacks, in the order in which their hooks are called."""
    # Set when the Trainer is built, and not declared there. Callbacks that write checkpoints have been moved to the
    # end.
    return trainer.callbacks  # type: ignore[attr-defined, no-any-return]


def hyperparameters_of(trainer: Trainer) -> dict[str, Any]:
    """Return what Lightning gives the loggers as hyper-parameters: what module and data module have saved for that."""
    owners = [trainer.lightning_module, trainer.datamodule]  # type: ignore[attr-defined]
    given = [one.hparams_initial for one in owners if one is not None and one._log_hyperparams]
    # The last is LightningCLI's own, which Lightning keeps to itself.
    return {key: value for some in given for key, value in some.items() if key != "_class_path"}


def quiet_profiler(trainer: Trainer) -> Any:
    """Return a profiler for a Trainer that measures nothing."""
    return _part(_library_of(trainer), "profilers.PassThroughProfiler")()


@contextmanager
def hushed(module: Any) -> Iterator[None]:
    """Keep back what the library that a module is of says at the level of information: of a Trainer, many lines."""
    # What is said by one process goes to the logger of whichever name of the library was imported last, or of Fabric.
    library = _library_of(module)
    logs = [logging.getLogger(library), importlib.import_module(f"{library}.utilities.rank_zero").rank_zero_module.log]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(max(log.getEffectiveLevel(), logging.WARNING))
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


def loop_limits(trainer: Trainer) -> tuple[Any, Any]:
    """Return the least and the largest number of epochs of a fit."""
    parse = _part(_library_of(trainer), "loops.utilities._parse_loop_limits")
    limits: tuple[Any, Any] = parse(
        trainer.min_steps, trainer.max_steps, trainer.min_epochs, trainer.max_epochs, trainer
    )
    return limits


def optimizers_of(module: LightningModule) -> tuple[list[Any], list[Any]]:
    """Return what ``configure_optimizers`` builds: the optimizers, and when which scheduler is to be ticked."""
    built: tuple[list[Any], list[Any]] = _part(
        _library_of(module), "core.optimizer._init_optimizers_and_lr_schedulers"
    )(module)
    return built


def configuring() -> Trainer | None:
    """Return the Trainer that is building its optimizers right now; ``None`` where none is."""
    # Nobody hands it down to what is made in `configure_optimizers`, and there a module need not be named `self`. It is
    # called by this one function of Lightning's, which then looks at what was returned.
    for frame in _frames():
        if _library_in(frame) and frame.f_code.co_name == "_init_optimizers_and_lr_schedulers":
            trainer: Trainer = frame.f_locals["model"].trainer
            return trainer
    return None


def reading_a_command_line() -> bool:
    """Whether a ``LightningCLI`` is building what was typed: it does so before there is a Trainer."""
    return any(_of_a_command_line(frame) for frame in _frames())


def settings_of_command_line() -> Any:
    """Return the settings of the ``LightningCLI`` that is running the Trainer; ``None`` where none is."""
    at_work: list[Any] = [frame.f_locals.get("self") for frame in _frames() if _of_a_command_line(frame)]
    for cli in at_work:
        if hasattr(cli, "subcommand"):
            return cli.config.get(str(cli.subcommand), cli.config)
    return None


def _of_a_command_line(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == f"{_library_in(frame)}.cli"


def _frames() -> Iterator[FrameType]:
    """The calls that are under way, the innermost first."""
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def _library_in(frame: FrameType) -> str | None:
    """The library whose code a frame is of."""
    return _LIBRARIES.get(str(frame.f_globals.get("__name__")).partition(".")[0])


def chosen_checkpoint(trainer: Trainer, given: Any) -> Any:
    """Return the path of the checkpoint that a fit is given, which may be ``"last"`` or ``"best"``."""
    fitting = _part(_library_of(trainer), "trainer.states.TrainerFn").FITTING
    return trainer._checkpoint_connector._select_ckpt_path(fitting, given, True, False)


def set_up_training_data(trainer: Trainer) -> None:
    """Let a Trainer know its training loader, how long an epoch is and when it validates, without reading a batch."""
    # What `fit_loop.setup_data` does, but for the iterator that it makes: it would start workers and read ahead.
    library, fit = _library_of(trainer), trainer.fit_loop
    if fit._combined_loader is not None:
        return
    connector = "trainer.connectors.data_connector"
    loader = _part(library, f"{connector}._request_dataloader")(fit._data_source)
    kind = _part(library, "utilities.combined_loader.CombinedLoader")
    combined = copy.copy(loader) if isinstance(loader, kind) else kind(loader, "max_size_cycle")
    stage = _part(library, "trainer.states.RunningStage").TRAINING
    if trainer.overfit_batches > 0:  # type: ignore[attr-defined]
        _part(library, f"{connector}._resolve_overfit_batches")(combined, mode=stage)
    process = _part(library, f"{connector}._process_dataloader")
    fitting = _part(library, "trainer.states.TrainerFn").FITTING
    combined.flattened = [process(trainer, fitting, stage, one) for one in combined.flattened]
    has_length = _part(library, "utilities.data.has_len_all_ranks")
    lengths = [len(one) if has_length(one, trainer.strategy, False) else float("inf") for one in combined.flattened]
    parse = _part(library, f"{connector}._parse_num_batches")
    combined.limits = [parse(stage, length, trainer.limit_train_batches) for length in lengths]
    fit._combined_loader = combined
    taken = list(map(min, lengths, combined.limits))
    fit.max_batches = min(taken) if combined._mode == "min_size" else max(taken)
    every = trainer.val_check_interval
    if isinstance(every, int):
        trainer.val_check_batch = every
    elif math.isinf(fit.max_batches):
        trainer.val_check_batch = float("inf")
    else:
        trainer.val_check_batch = max(1, int(fit.max_batches * (1.0 if every is None else every)))


def accumulates_by_list(callback: GradientAccumulationScheduler) -> bool:
    """Whether the accumulation changes at the callback's ``epochs`` alone, and not by a rule of a class of its own."""
    rule = type(callback).get_accumulate_grad_batches
    return rule.__module__.partition(".")[0] in _LIBRARIES


def batches_that_stepped(trainer: Trainer) -> int:
    """Return the x of Lightning's own metrics: batches so far in which an optimizer stepped, less this one."""
    # Moved on after `on_train_batch_end`. Not `global_step`, which counts the steps of all optimizers.
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def steps_of_this_epoch(trainer: Trainer) -> int:
    """Return the steps of optimizers that Lightning had counted in an epoch that goes on from a checkpoint.

    To be asked in ``on_train_start``; 0 where the fit begins with an epoch's first batch.
    """
    loop, epoch = trainer.fit_loop, trainer.fit_loop.epoch_loop
    # Of the checkpoint of an epoch's last batch Lightning has taken the epoch for completed by now.
    completed = epoch.restarted_on_train_batch_end and epoch.batch_progress.is_last_batch
    if not loop.restarted_mid_epoch or completed:
        return 0
    return epoch.automatic_optimization.optim_progress.optimizer.step.current.completed


def combined_loader(trainer: Trainer) -> CombinedLoader | None:
    """Return what the Trainer reads its training batches from; ``None`` before its data are set up."""
    return trainer.fit_loop._combined_loader


def twin_of_combined(combined: CombinedLoader, loaders: Sequence[Any]) -> CombinedLoader:
    """Return one that combines ``loaders`` as ``combined`` does its own."""
    # The structure (a loader, a list, a dict) is read from the iterables; then each is replaced, in the same order.
    twin = type(combined)(combined.iterables, combined._mode)
    twin.flattened = list(loaders)
    twin.limits = combined.limits  # of what is combined; the length of a pass is the Trainer's
    return twin


def before_batch_transfer(module: LightningModule, batch: Any) -> Any:
    """Do what Lightning does to a batch before it goes to the device."""
    # It calls the module's or the data module's hook of that name; the one after the transfer is in `batch_to_device`.
    return module._on_before_batch_transfer(batch, dataloader_idx=0)


# What was logged. A loop has results: one object for each name that a hook logs, for as long as the Trainer lives. They
# are reset when an epoch of training or a validation is over, and are not in a checkpoint.


def training_results(trainer: Trainer) -> Any:
    """Return what was logged in training, whatever loop is running now."""
    return trainer.fit_loop.epoch_loop._results


def validation_results(trainer: Trainer) -> Any:
    """Return what was logged in the validations of the fit, its sanity check included."""
    return trainer.fit_loop.epoch_loop.val_loop._results


def logged_as(results: Any, name: str) -> list[Any]:
    """Return the results that a callback sees under a name; those that ``has_reset`` are not of the present epoch."""
    # Logged on step and on epoch, a name is there three times: `loss`, `loss_step`, `loss_epoch`. With several loaders
    # each has the loader's suffix. A validation shows its callbacks no values of single steps.
    return [
        one
        for one in results.values()
        if (one.meta.on_epoch and name in results._forked_name(one, on_step=False))
        or (results.training and one.meta.on_step and name in results._forked_name(one, on_step=True))
    ]


def value_of(results: Any, one: Any, name: str) -> Any:
    """Return the value that a callback sees under a name when the epoch is over: a tensor."""
    # Computed over the processes where that was asked for, so all of them have to come here.
    computed = one._computed
    value = results._get_cache(one, on_step=not _of_epoch(one, name))
    one._computed = computed  # a metric object may yet be updated before Lightning computes its value
    return value


def sums_up(one: Any, name: str) -> tuple[str, float, float] | None:
    """Return how a result of training sums up its epoch, its sum so far, and the weight of that.

    ``None`` where it is a metric with a state of its own, or where it is logged when the epoch is over.
    """
    meta = one.meta
    if meta.fx == "on_train_epoch_end":
        return None
    if not _of_epoch(one, name):  # a metric object has a value of the step only where the module asked it for one
        return None if one._forward_cache is None else ("last", float(one._forward_cache), 1.0)
    if not one.is_tensor:
        return None
    weight = float(one.cumulated_batch_size) if meta.is_mean_reduction else 1.0
    return meta.reduce_fx.__name__, float(one.value), weight


def _of_epoch(one: Any, name: str) -> bool:
    return one.meta.on_epoch and not (one.meta.forked and name == one.meta.forked_name(on_step=True))


class Averaging:
    """What StochasticWeightAveraging does to the schedule: from an epoch on its own scheduler has the first place.

    Args:
        callback: the callback.
        epochs: of the run; ``None`` where there is no limit.
    """

    def __init__(self, callback: Any, epochs: int | None) -> None:
        self._callback = callback
        start = callback._swa_epoch_start
        if isinstance(start, float):  # a share of the run, until `on_fit_start`
            start = int((epochs or 0) * start)
        self._first = max(start - 1, 0)
        # A last epoch, of batch norm's statistics, comes on top of these.
        self._last = float("inf") if epochs is None else getattr(callback, "_max_epochs", epochs) - 1

    def begins_in(self, epoch: int) -> bool:
        """Whether its scheduler begins with this epoch, if it has not begun."""
        return not self._callback._initialized and self._first <= epoch <= self._last

    def config_for(self, optimizer: Any) -> Any:
        """Return what Lightning is then told: its scheduler on an optimizer, ticked in every epoch."""
        swa, groups = self._callback, optimizer.param_groups
        lrs = [swa._swa_lrs] * len(groups) if isinstance(swa._swa_lrs, float) else swa._swa_lrs
        for group, lr in zip(groups, lrs, strict=False):
            group["initial_lr"] = lr
        last = (swa._max_epochs if hasattr(swa, "_max_epochs") else self._last + 1) if self._cosine else -1
        scheduler = SWALR(optimizer, lrs, swa._annealing_epochs, swa._annealing_strategy, last)  # type: ignore[arg-type]
        return _part(_library_of(swa), "utilities.types.LRSchedulerConfig")(scheduler)

    @property
    def _cosine(self) -> bool:
        return bool(self._callback._annealing_strategy == "cos")


def averaging_of(trainer: Trainer) -> Averaging | None:
    """Return what a Trainer's StochasticWeightAveraging does, if it has one."""
    epochs = None if trainer.max_epochs in (None, -1) else trainer.max_epochs
    for one in callbacks_of(trainer):
        if isinstance(one, StochasticWeightAveraging):
            return Averaging(one, epochs)
    return None


def reloads(trainer: Trainer) -> bool:
    """Whether a Trainer makes its loader anew between epochs."""
    return bool(trainer.reload_dataloaders_every_n_epochs)  # type: ignore[attr-defined]


def averages(checkpoint: dict[str, Any]) -> bool:
    """Whether StochasticWeightAveraging had put its scheduler in another one's place when a checkpoint was saved."""
    states = checkpoint.get("callbacks", {})
    return any(
        str(name).startswith("StochasticWeightAveraging") and state.get("scheduler_state") is not None
        for name, state in states.items()
    )


def stops_early(trainer: Trainer) -> list[str]:
    """Return the classes of callbacks that may end a run before its time."""
    return [type(one).__name__ for one in callbacks_of(trainer) if isinstance(one, (EarlyStopping, Timer))]


def timers_of(trainer: Trainer) -> list[Timer]:
    """Return the callbacks that end a run when its time is over; Lightning makes one of ``max_time``."""
    return [one for one in callbacks_of(trainer) if isinstance(one, Timer) and one.time_remaining() is not None]


def epoch_is_whole(trainer: Trainer) -> bool:
    """Tell whether the epoch of training has had its last batch, and was not stopped before it."""
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()


def saved_with_batch(trainer: Trainer) -> bool:
    """Tell whether a ModelCheckpoint saved when the present batch ended; to be asked before it saves anew."""
    # It saves once at a count of steps, and with accumulation the count is that of an earlier batch too.
    return not trainer.fit_loop._should_accumulate() and any(
        isinstance(one, ModelCheckpoint) and one._last_global_step_saved == trainer.global_step
        for one in callbacks_of(trainer)
    )


class AfterHook:
    """Stands in for a module's hook until Lightning has called it once; then calls ``then``.

    Lightning calls the hooks of callbacks before the module's own. Only callbacks that watch a metric come after it, at
    the end of an epoch of training; to be one of them, a callback would have to be a ModelCheckpoint or EarlyStopping.

    Whoever looks at the module meanwhile sees the hook: a copy of the module, pickled or not, has its own again.
    """

    def __init__(self, module: LightningModule, name: str, then: Callable[[], None]) -> None:
        self._module, self._name, self._then = module, name, then
        self._hook = getattr(module, name)
        self._own = {key: one for key, one in vars(module).items() if key == name}  # put on this one module by somebody
        functools.update_wrapper(self, self._hook)
        vars(module)[name] = self

    def __call__(self) -> None:
        self.undo()
        if callable(self._hook):  # Lightning passes over a hook that is `None`
            self._hook()
        self._then()

    def undo(self) -> None:
        """Give the module its hook back; a second call does nothing."""
        if vars(self._module).get(self._name) is self:
            del vars(self._module)[self._name]
            vars(self._module).update(self._own)

    def __reduce__(self) -> Any:
        return getattr, (self._module, self._name)
