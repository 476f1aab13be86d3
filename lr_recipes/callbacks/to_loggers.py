"""What the Trainer's loggers are told: LRs now and then, the plan, what came of it, and the picture.

No logger's package is imported: each logger is asked what it can do, and what is told goes where its users look for it.
When something is told is the ``LearningRateLogger``'s business. No logger ends a training by what it is told here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lr_recipes.callbacks.lightning import Trainer, hyperparameters_of
from lr_recipes.callbacks.telling import warn
from lr_recipes.checks import brief
from lr_recipes.optimizer.recorder import Recorder
from lr_recipes.plan.names import distinct
from lr_recipes.report.picture import pixels_of

NAMES = ("groups", "monitor")

Facts = Mapping[str, str | bool]


class ToLoggers:
    """All loggers of a Trainer; asked for anew each time, for a range test puts others in their place."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._known: dict[str, str | bool] = {}
        self._failed: set[int] = set()

    def metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log numbers of an update."""
        self._each("the LRs", lambda logger: logger.log_metrics(dict(metrics), step=step))

    def plan(self, facts: Facts, step: int) -> None:
        """Note what is known before the first update."""
        self._known = _named(facts)
        self._each("the plan", lambda logger: self._place_in(logger).plan(self._known, step))

    def outcome(self, facts: Facts, step: int) -> None:
        """Note what is known at the end."""
        self._each("the closing line", lambda logger: self._place_in(logger).outcome(_named(facts), step))

    def picture(self, path: Path, step: int) -> None:
        """Hand over a picture."""
        self._each(path.name, lambda logger: self._place_in(logger).picture(path, f"lr_recipes/{path.stem}", step))

    def _place_in(self, logger: Any) -> _Hyperparameters:
        experiment = getattr(logger, "experiment", None)
        kind = next((kind for kind in _PLACES if kind.is_offered_by(logger, experiment)), _Hyperparameters)
        return kind(self._trainer, logger, experiment, self._known)

    def _each(self, what: str, tell_it: Callable[[Any], None]) -> None:
        for logger in self._trainer.loggers:
            try:
                tell_it(logger)
            except Exception as error:  # of somebody else's code, or of a network: no reason to end a training
                if id(logger) not in self._failed:
                    self._failed.add(id(logger))
                    warn(
                        self._trainer,
                        f"{type(logger).__name__} does not take {what} ({type(error).__name__}: {brief(str(error))}): "
                        "training goes on, and the record has every LR; mend the logger, or if it takes LRs alone, "
                        "give LearningRateLogger(summary=False)",
                    )


def _named(facts: Facts) -> dict[str, str | bool]:
    return {f"lr_recipes/{name}": value for name, value in facts.items()}


class _Hyperparameters:
    """Any logger has a place for hyper-parameters; one that cannot take a picture is given none."""

    def __init__(self, trainer: Trainer, logger: Any, experiment: Any, known: Facts) -> None:
        self.trainer, self.logger, self.experiment, self.known = trainer, logger, experiment, known

    @classmethod
    def is_offered_by(cls, logger: Any, experiment: Any) -> bool:
        """Whether a logger has this place."""
        return True

    def plan(self, facts: Facts, step: int) -> None:
        # With the module's own, and what is known, beside them: a logger may keep only what it was given last.
        self.logger.log_hyperparams({**hyperparameters_of(self.trainer), **self.known, **facts})

    def outcome(self, facts: Facts, step: int) -> None:
        self.plan(facts, step)

    def picture(self, path: Path, name: str, step: int) -> None:
        pass


class _Summary(_Hyperparameters):
    """W&B: a config that can be added to, and a summary; a logger that takes images by their paths."""

    @classmethod
    def is_offered_by(cls, logger: Any, experiment: Any) -> bool:
        return hasattr(experiment, "summary") and hasattr(logger, "log_image")

    def plan(self, facts: Facts, step: int) -> None:
        self.logger.log_hyperparams(dict(facts))  # without the module's own, which may have been changed since

    def outcome(self, facts: Facts, step: int) -> None:
        self.experiment.summary.update(dict(facts))

    def picture(self, path: Path, name: str, step: int) -> None:
        self.logger.log_image(name, [str(path)], step)


class _Writer(_Hyperparameters):
    """TensorBoard: texts, scalars and images; of hyper-parameters it shows only those of the first call."""

    @classmethod
    def is_offered_by(cls, logger: Any, experiment: Any) -> bool:
        return hasattr(experiment, "add_text") and hasattr(experiment, "add_image")

    def plan(self, facts: Facts, step: int) -> None:
        for name, value in facts.items():
            if isinstance(value, bool):
                self.logger.log_metrics({name: float(value)}, step=step)
            else:  # as Markdown, where four blanks keep lines and columns
                self.experiment.add_text(name, "\n".join(f"    {line}" for line in value.splitlines()), step)

    def picture(self, path: Path, name: str, step: int) -> None:
        self.experiment.add_image(name, pixels_of(path), step, dataformats="HWC")


class _Tags(_Hyperparameters):
    """MLflow: tags, which may be set again when a run goes on, as its parameters may not; and artifacts."""

    @classmethod
    def is_offered_by(cls, logger: Any, experiment: Any) -> bool:
        return hasattr(experiment, "set_tag") and hasattr(logger, "run_id")

    def plan(self, facts: Facts, step: int) -> None:
        for name, value in facts.items():
            self.experiment.set_tag(self.logger.run_id, name, str(value))

    def picture(self, path: Path, name: str, step: int) -> None:
        self.experiment.log_artifact(self.logger.run_id, str(path))


class _Others(_Hyperparameters):
    """Comet: "others", values by name that runs are filtered by; and images by their paths."""

    @classmethod
    def is_offered_by(cls, logger: Any, experiment: Any) -> bool:
        return hasattr(experiment, "log_other") and hasattr(experiment, "log_image")

    def plan(self, facts: Facts, step: int) -> None:
        for name, value in facts.items():
            self.experiment.log_other(name, value)

    def picture(self, path: Path, name: str, step: int) -> None:
        self.experiment.log_image(str(path), name=name, step=step)


_PLACES: Sequence[type[_Hyperparameters]] = (_Writer, _Tags, _Summary, _Others)


# The names of metrics


def own_names(recorder: Recorder, suffix: str) -> dict[str, float]:
    """Return the last used LRs as ``lr/<group>``, with the optimizer's suffix."""
    names = [f"lr{suffix}/{group}" for group in recorder.present]
    return _known(zip(names, recorder.last_lrs, strict=False))


def monitor_labels(configs: Iterable[Any], optimizers: Sequence[Any]) -> dict[int, list[str]]:
    """Return under which names Lightning's ``LearningRateMonitor`` knows each optimizer, by its place.

    It begins with the schedulers: one that has a name of its own gives it to its optimizer, and an optimizer with two
    schedulers has two names.

    Args:
        configs: what Lightning knows of each scheduler.
        optimizers: all of them.
    """
    labels: dict[int, list[str]] = {place: [] for place in range(len(optimizers))}
    counts: Counter[type] = Counter()

    def add(place: int, name: str | None) -> None:
        kind = type(optimizers[place])
        counts[kind] += name is None
        number = f"-{counts[kind] - 1}" if counts[kind] > 1 else ""
        labels[place].append(f"{f'lr-{kind.__name__}' if name is None else name}{number}")

    places = {id(optimizer): place for place, optimizer in enumerate(optimizers)}
    for config in configs:
        place = places.get(id(getattr(config.scheduler, "optimizer", None)))
        if place is not None:
            add(place, config.name)
    for place in [place for place, names in labels.items() if not names]:
        add(place, None)
    return labels


def monitor_names(recorder: Recorder, labels: Iterable[str]) -> dict[str, float]:
    """Return the last used LRs, momenta and weight decays under the names that ``LearningRateMonitor`` writes.

    Its names of groups depend on how many there are, so they change when one joins, as they do with it.
    """
    groups = recorder.clock.optimizer.param_groups[: len(recorder.last_lrs)]
    ends = [f"/{name}" for name in distinct(group.get("name", f"pg{n}") for n, group in enumerate(groups, 1))]
    if len(groups) == 1 and not groups[0].get("name"):
        ends = [""]
    metrics: dict[str, float] = {}
    for label in labels:
        names = [f"{label}{end}" for end in ends]
        names += [f"{label}{end}-{kind}" for kind in ("momentum", "weight_decay") for end in ends]
        metrics |= _known(zip(names, [*recorder.last_lrs, *recorder.last_others], strict=False))
    return metrics


def _known(named: Iterable[tuple[str, Any]]) -> dict[str, float]:
    """Without what is none: some optimizers compute their own LR, and not every group has a momentum."""
    return {name: float(value) for name, value in named if value is not None}
