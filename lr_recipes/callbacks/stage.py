"""A stage: views of a Trainer, its loops and its module, on which the ticks of a run are played ahead.

What is set on a view is not set on its original, so a run that is played leaves no trace, however it ends. When a
scheduler is ticked is Lightning's rule, measured: this and ``lightning.py`` are the two modules that know private parts
of Lightning.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from lr_recipes.callbacks.lightning import (
    Callback,
    LightningDataModule,
    LightningModule,
    Trainer,
    callbacks_of,
    dummy_logger,
    loop_limits,
    optimizers_of,
    quiet_profiler,
    set_up_training_data,
)
from lr_recipes.optimizer.twin import Twins, view_of


class Unknowable(Exception):
    """What a module asked for is not known before training, such as a metric."""


def _unknowable(what: str) -> property:
    def ask(trainer: Any) -> Any:
        raise Unknowable(what)

    return property(ask)


def _current_epoch(trainer: Any) -> int:
    trainer.epoch_asked = True
    return int(trainer.fit_loop.epoch_progress.current.completed)


def _on_stage(kind: type) -> type:
    """The class of a Trainer on a stage: it knows no metric, and notes who asks for the epoch."""
    metrics = {name: _unknowable(name) for name in ("callback_metrics", "logged_metrics", "progress_bar_metrics")}
    return type(kind.__name__, (kind,), {**metrics, "current_epoch": property(_current_epoch)})


class Stage:
    """A Trainer, its loops and its module as views, with twins of the optimizers and of the schedulers.

    A run is played on it batch by batch: ``begin_epoch``, then for each batch ``begin_batch``, ``update`` where there
    is one, ``processed``, ``tick``, ``end_batch`` and the ``tick`` of plateaus, then ``end_epoch``.

    Args:
        trainer: whose run it is.
        module: trained by it.
        begun: whether the next batch has begun already, as in ``on_train_batch_start``.

    Attributes:
        trainer: the view.
        module: the view.
        twins: what stands for what.
        resumes: whether the first epoch is the rest of one, after a checkpoint.
        begins: whether that one begins as every epoch does, with the hooks of its start.
        only_validates: whether of that one nothing but a validation is left.
    """

    def __init__(self, trainer: Trainer, module: LightningModule, begun: bool = False) -> None:
        self.twins = Twins(viewed=(Callback, LightningDataModule, LightningModule))
        self.trainer, self.module = self.twins.view(trainer, _on_stage(type(trainer))), self.twins.view(module)
        self.trainer.epoch_asked = False
        self._loops(trainer)
        if begun:
            progress = self._epoch_loop.batch_progress
            progress.total.ready, progress.current.ready = progress.total.ready - 1, progress.current.ready - 1
        self._surroundings(trainer)
        fit = trainer.fit_loop
        self.resumes = bool(fit.restarting)
        self.begins = not (self.resumes and (fit.restarted_mid_epoch or fit.restarted_on_epoch_end))
        ended = self.resumes and not begun and self.batch >= trainer.num_training_batches
        self.only_validates = ended and self.validates
        for name in ("_modules", "_parameters", "_buffers"):
            vars(self.module)[name] = dict(vars(self.module)[name])
        self.module._trainer = self.trainer
        for name in ("log", "log_dict", "print"):  # what a scheduler's step logs is not of this run
            vars(self.module)[name] = lambda *args, **kwargs: None

    def _loops(self, trainer: Trainer) -> None:
        fit = self._view(trainer.fit_loop, "epoch_progress")
        epoch = self._view(fit.epoch_loop, "batch_progress", "scheduler_progress")
        epoch.automatic_optimization = self._view(epoch.automatic_optimization, "optim_progress")
        epoch.manual_optimization = self._view(epoch.manual_optimization, "optim_step_progress")
        epoch.val_loop = self._view(epoch.val_loop, "batch_progress")
        fit._data_source, epoch.val_loop._data_source = map(view_of, (fit._data_source, epoch.val_loop._data_source))
        fit.epoch_loop, self.trainer.fit_loop = epoch, fit

    def _view(self, loop: Any, *progress: str) -> Any:
        view = self.twins.view(loop)
        view.trainer = self.trainer
        for name in progress:
            setattr(view, name, copy.deepcopy(getattr(loop, name)))
        return view

    def _surroundings(self, trainer: Trainer) -> None:
        stage: Any = self.trainer
        stage._accelerator_connector = view_of(trainer._accelerator_connector)
        self.strategy: Any = self.twins.view(trainer.strategy)
        stage._accelerator_connector.strategy = self.strategy
        self.strategy._lightning_module = self.strategy.model = self.module
        stage.callbacks = list(callbacks_of(trainer))
        stage._loggers = [dummy_logger(trainer)] if trainer.loggers else []
        stage.profiler = quiet_profiler(trainer)
        for one in [*trainer.loggers, stage._logger_connector, stage._signal_connector]:
            self.twins.note(one, one)  # nothing of them is a scheduler's

    def cast(self, optimizers: Sequence[Any], configs: Sequence[Any]) -> None:
        """Bring twins of the optimizers and schedulers onto the stage.

        Raises:
            CannotCopy: a scheduler holds something that cannot be copied.
        """
        for optimizer in optimizers:
            self.twins.optimizer(optimizer)
        self.strategy.optimizers = [self.twins.of(one) for one in optimizers]
        self.strategy.lr_scheduler_configs = [replace(one, scheduler=self.twins.of(one.scheduler)) for one in configs]
        self.twins.contents(self.module)
        for name, value in vars(self.module).items():
            if hasattr(value, "step") and hasattr(value, "optimizer"):  # a scheduler that the module keeps for itself
                vars(self.module)[name] = self.twins.of(value)

    @property
    def optimizers(self) -> list[Any]:
        """The twins of the optimizers."""
        optimizers: list[Any] = self.strategy.optimizers
        return optimizers

    @property
    def configs(self) -> list[Any]:
        """What Lightning knows of the schedulers: twins, and when they are ticked."""
        configs: list[Any] = self.strategy.lr_scheduler_configs
        return configs

    @configs.setter
    def configs(self, configs: list[Any]) -> None:
        self.strategy.lr_scheduler_configs = configs

    @property
    def _epoch_loop(self) -> Any:
        return self.trainer.fit_loop.epoch_loop

    # What a loop does

    @property
    def epoch(self) -> int:
        """The present epoch."""
        return int(self.trainer.fit_loop.epoch_progress.current.completed)

    @property
    def batch(self) -> int:
        """The next batch of the epoch."""
        return int(self._epoch_loop.batch_progress.current.ready)

    @property
    def steps(self) -> int:
        """Steps that the loop has counted."""
        return int(self._epoch_loop.global_step)

    @property
    def over(self) -> bool:
        """Whether the run is over; to be asked between two epochs."""
        fit = self.trainer.fit_loop
        epochs = fit.max_epochs
        return self.full or (epochs is not None and 0 <= epochs <= int(fit.epoch_progress.current.processed))

    @property
    def full(self) -> bool:
        """Whether all steps are done that ``max_steps`` allows."""
        most = self.trainer.fit_loop.max_steps
        return bool(0 <= most <= self.steps)

    def begin_epoch(self, accumulate: int) -> None:
        """Begin the epoch, with so many batches in an update."""
        self.trainer.accumulate_grad_batches = accumulate
        progress, loop = self.trainer.fit_loop.epoch_progress, self._epoch_loop
        progress.increment_ready()
        progress.increment_started()
        loop.batch_progress.reset_on_run()
        loop.automatic_optimization.optim_progress.reset_on_run()

    def skip_to(self, batch: int, steps: int) -> None:
        """Let the batches before this one, with so many steps, be done: nobody is ticked in them."""
        self._epoch_loop.batch_progress.increment_by(batch - self.batch)
        self._step(steps)

    def begin_batch(self, last: bool) -> bool:
        """Begin the next batch; return whether the optimizer steps in it."""
        progress = self._epoch_loop.batch_progress
        progress.is_last_batch = last
        for tracker in (progress.total, progress.current):
            tracker.ready += 1
            tracker.started += 1
        return last or progress.current.ready % self.trainer.accumulate_grad_batches == 0

    def update(self) -> None:
        """Let the optimizer step."""
        self._step(1)

    def _step(self, count: int) -> None:
        step = self._epoch_loop.automatic_optimization.optim_progress.optimizer.step
        for tracker in (step.total, step.current):
            tracker.ready += count
            tracker.completed += count

    def processed(self) -> None:
        """Let the batch be done but for its end."""
        progress = self._epoch_loop.batch_progress
        progress.total.processed, progress.current.processed = progress.total.ready, progress.current.ready

    def tick(self, interval: str, metric: Callable[[str], Any] | None = None) -> None:
        """Tick the schedulers whose turn it is, by the rule of Lightning's ``update_lr_schedulers``.

        Args:
            interval: whose interval is over: ``"step"``, where an update was done, or ``"epoch"``.
            metric: name -> value, for plateaus, which alone are ticked then; ``None`` where there is none yet.
        """
        # The rule is written anew because it runs at every update, and theirs takes as long as many a scheduler.
        count = self.batch if interval == "step" else self.epoch + 1
        for config in self.configs:
            reacts = config.reduce_on_plateau
            if config.interval != interval or reacts != (metric is not None) or count % config.frequency:
                continue
            value = metric(config.monitor) if metric else None
            if value is not None or not reacts:  # without a value a plateau is passed over
                self.module.lr_scheduler_step(config.scheduler, value)

    def end_batch(self) -> None:
        """End the batch."""
        progress = self._epoch_loop.batch_progress
        progress.total.completed, progress.current.completed = progress.total.ready, progress.current.ready

    @property
    def validates(self) -> bool:
        """Whether there is a validation after this batch."""
        return bool(self._epoch_loop._should_check_val_fx(None))

    @property
    def epoch_is_whole(self) -> bool:
        """Whether the epoch has had its last batch."""
        return bool(self._epoch_loop._num_ready_batches_reached())

    def processed_epoch(self) -> None:
        """Let the epoch be done but for its end."""
        self.trainer.fit_loop.epoch_progress.increment_processed()

    def end_epoch(self) -> None:
        """End the epoch."""
        self.trainer.fit_loop.epoch_progress.increment_completed()

    # What a fit does before its first batch

    def set_up(self, train: Any = None, val: Any = None, datamodule: Any = None) -> tuple[list[Any], list[Any]]:
        """Attach the data and build the optimizers and schedulers, as ``Trainer.fit`` does; nothing is iterated.

        Args:
            train: the training loader, or loaders; or a data module.
            val: the validation loader, or loaders.
            datamodule: the data module.

        Returns:
            The optimizers, and what Lightning knows of the schedulers.
        """
        if isinstance(train, LightningDataModule):
            train, datamodule = None, train
        trainer: Any = self.trainer
        trainer.state = view_of(trainer.state)
        trainer.state.fn = "fit"
        fit, sources = trainer.fit_loop, (train, val)
        if datamodule is not None:
            datamodule = self.twins.view(datamodule)
            self.twins.contents(datamodule)
            trainer.datamodule, datamodule.trainer = datamodule, trainer
            sources = (datamodule, datamodule)
        self.twins.contents(self.module)
        for loop, source in zip((fit, fit.epoch_loop.val_loop), sources, strict=True):
            loop._data_source.instance = self.module if source is None else source
            loop._combined_loader = None
        fit.min_epochs, fit.max_epochs = loop_limits(trainer)
        for one in filter(None, (datamodule, self.module)):
            one.prepare_data()
            one.setup("fit")
        self.module.configure_model()
        # A fit sets its data up when the optimizers are built, or when `estimated_stepping_batches` is asked for: until
        # then the number of batches is infinite.
        fit.setup_data = partial(set_up_training_data, trainer)
        self.strategy.optimizers, self.strategy.lr_scheduler_configs = optimizers_of(self.module)
        fit.setup_data()
        return list(self.strategy.optimizers), list(self.strategy.lr_scheduler_configs)

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Let the loops, the LRs and the schedulers stand where a checkpoint was saved."""
        fit: Any = self.trainer.fit_loop
        fit.load_state_dict(checkpoint["loops"]["fit_loop"])
        fit.restarting = True
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=False):
            optimizer.load_state_dict({"state": {}, "param_groups": state["param_groups"]})
        for config, state in zip(self.configs, checkpoint["lr_schedulers"], strict=False):
            config.scheduler.load_state_dict(state)
        model, self.strategy.model = self.strategy.model, self.module
        fit.reset()
        self.strategy.model = model
        if self.trainer.max_steps == -1:
            fit.epoch_progress.current.completed = fit.epoch_progress.current.processed
        fit.epoch_loop.reset()
        fit.epoch_loop.restarting = False
