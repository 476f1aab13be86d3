"""What the callbacks say: owners, metrics, the record, resuming."""

from __future__ import annotations

import math
import os
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, callbacks
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import StepLR

from lr_recipes import LearningRateLogger, LearningRateScheduler, LearningRateWarmup, schedules
from lr_recipes.report.backlog import Backlog
from lr_recipes.report.lr_csv import LrCsv, columns_of
from lr_recipes.schedules import Schedule
from tests.callbacks.harness import PEAK, OwnRate, Tiny, Validated, fit, loader, plan, quiet_trainer, record_lrs, sgd
from tests.messages.doors import (
    COSINE,
    RUN,
    TOTAL,
    Both,
    Case,
    Saves,
    a_file,
    resumed,
    saved,
    trained,
    warmed,
    without_matplotlib,
)


class Foreign:
    """Steps like an optimizer, and is none of torch's."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer, self.param_groups = optimizer, optimizer.param_groups

    def __getattr__(self, name: str) -> Any:
        return getattr(self.optimizer, name)


class OwnOptimizer(SingleDeviceStrategy):
    """Puts an optimizer of its own in the place of the module's, as DeepSpeed does."""

    def setup_optimizers(self, trainer: Any) -> None:
        super().setup_optimizers(trainer)
        self._optimizers = [Foreign(one) for one in self.optimizers]


class Writes(Callback):
    """Writes an LR in mid-run."""

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        trainer.optimizers[0].param_groups[0]["lr"] = 0.5


class Binds(Tiny):
    """Binds a schedule to its optimizer by hand."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        self.scheduler = COSINE.bind(optimizer, RUN)
        self.scheduler.attach()
        return optimizer


class Refusing(CSVLogger):
    """Takes no hyper-parameters."""

    def __init__(self) -> None:
        super().__init__("refusing")

    def log_hyperparams(self, params: Any = None) -> None:
        raise OSError("no room")


def with_step_lr(weights: Any) -> Any:
    optimizer = sgd(weights)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": StepLR(optimizer, 4, 0.5), "interval": "step"}}


class Joins(Callback):
    """Adds a second optimizer in mid-run, and steps it."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch:
            trainer.optimizers = [*trainer.optimizers, sgd(pl_module.weights)]
            trainer.optimizers[1].step()


class Secret(Optimizer):
    """Changes parameters past ``step``."""

    def __init__(self, weights: Any) -> None:
        super().__init__(weights, {"lr": 0.1})

    def step(self, closure: Any = None) -> Any: ...

    @torch.no_grad()
    def update(self) -> None:
        for weight in self.param_groups[0]["params"]:
            weight.sub_(weight.grad)


class Secretly(Tiny):
    def __init__(self) -> None:
        super().__init__(Secret)
        self.automatic_optimization = False

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        self.manual_backward(self.loss(batch))
        self.trainer.optimizers[0].update()  # type: ignore[attr-defined]


class Wrapper(Optimizer):
    """Keeps the optimizer that does the updates, and shares its groups."""

    def __init__(self, weights: Any) -> None:
        self.inner = sgd(weights)
        super().__init__(self.inner.param_groups, self.inner.defaults)
        self.param_groups = self.inner.param_groups

    def step(self, closure: Any = None) -> Any:
        return self.inner.step(closure)


class AtTheEnd(Callback):
    """Does something to the file of the record before the last rows are written."""

    def __init__(self, fault: Callable[[Path], Any]) -> None:
        self.fault = fault

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.fault(Path("lrs/lr.csv"))


def becomes_a_file(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_text("a file")


def exchanged(path: Path) -> None:
    path.unlink()
    path.write_text("theirs")


def cut(path: Path) -> None:
    os.truncate(path, 0)


def more_than_can_wait() -> None:
    def tell(sentence: str) -> None:
        if "no more are kept" in sentence:
            warnings.warn(sentence, stacklevel=2)

    waiting = Backlog(LrCsv(Path("other/lr.csv"), columns_of({})), tell)
    becomes_a_file(Path("other/lr.csv"))
    try:
        for step in range(70):
            waiting.write([[step, 0, 1, "x" * 10**6, 1.0]])
    finally:
        waiting.close()


def beside_another_run(folder: Path, there: Path | None = None) -> None:
    other = LrCsv((there or folder) / "lr.csv", columns_of({}))
    try:
        trained(COSINE, callbacks=[record_lrs(folder)])
    finally:
        other.close()


def drawn_over_a_folder(plot: bool) -> None:
    Path("lrs/lr.png").mkdir(parents=True, exist_ok=True)
    trained(COSINE, callbacks=[LearningRateLogger("lrs", plot=plot)])


def emptied() -> Optimizer:
    optimizer = sgd([nn.Parameter(torch.ones(1))])
    optimizer.param_groups.clear()
    return optimizer


def untouched() -> None:
    fit(max_epochs=2, module=Tiny(lambda weights: None))


def both() -> None:
    run = fit({0: COSINE, 1: COSINE}, module=Both(), max_epochs=2, options={"total_steps": 16})
    assert run.used == plan(COSINE, 16)


class Silent(Validated):
    """Validates and logs nothing."""

    def validation_step(self, batch: Tensor, batch_idx: int) -> None: ...


def validated(schedule: Schedule, *values: float, **arguments: Any) -> list[float]:
    """Train 2 epochs, each with a validation."""
    return fit(schedule, **{"module": Validated(values), "max_epochs": 2, **arguments}).used


def bound_by_hand() -> None:
    assert fit(max_epochs=2, module=Binds()).used == plan(COSINE, 16)


def check(used: list[float], planned: Any) -> None:
    assert used == planned


def resumed_by(module: Any, again: Any, first: Any = COSINE, then: Any = COSINE) -> None:
    total = {"options": {"total_steps": 16}} if isinstance(module, Both) else {}
    made = {**total, "module": module} if first is not None else {"module": module}
    path = saved(first, **made)
    run = fit(then, module=again, max_epochs=2, ckpt_path=path, **total)
    assert run.used == plan(COSINE, 16)[-len(run.used) :]


def from_the_weights() -> None:
    module = Both()
    module.load_state_dict(torch.load(saved(None, module=Both()), weights_only=True)["state_dict"])
    trained(COSINE, module=module, **TOTAL)


def edited(
    edit: Callable[[Any], Any], owner: Any = None, module: Any = Tiny, epochs: int = 2, **options: Any
) -> list[float]:
    """Train an epoch, change what its checkpoint holds of the callbacks, and go on from it."""
    owner = owner or partial(LearningRateScheduler, COSINE)
    fit(module=module(), callbacks=[owner(), record_lrs(Path("lrs")), Saves()], max_epochs=epochs)
    checkpoint = torch.load("run.ckpt", weights_only=True)
    edit(checkpoint["callbacks"])
    torch.save(checkpoint, "run.ckpt")
    again = [owner(**options), record_lrs(Path("lrs"))]
    return fit(module=module(), callbacks=again, max_epochs=epochs, ckpt_path="run.ckpt").used


def position_of(key: str, value: Any) -> Callable[[Any], None]:
    return lambda states: states[key]["optimizers"]["SGD"].update(position=value)


def anew(used: list[float]) -> None:
    """A new schedule over the eight updates that are left."""
    check(used, plan(COSINE, 8))


def goes_on(used: list[float]) -> None:
    check(used, plan(COSINE, 16)[8:])


def without_checksum(states: Any) -> None:
    states["LearningRateScheduler"]["metrics"]["done_up_to"] = 10**6
    del states["LearningRateScheduler"]["checksum"]


def without_lrs(states: Any) -> None:
    del states["LearningRateWarmup"]["optimizers"]["SGD"]["lrs"]


LONG = partial(LearningRateWarmup, 12, "linear")
OWN_WARMUP = [PEAK * min(1.0, (n + 1) / 12) for n in range(8, 24)]
PLATEAU = partial(LearningRateScheduler, schedules.Plateau())
CALLBACKS: dict[str, Case] = {
    "schedule that is none": Case(
        lambda: LearningRateScheduler(StepLR),  # type: ignore[arg-type]
        ["schedule=<class 'torch.optim.lr_scheduler.StepLR'>"],
        {
            "schedules.Cosine(warmup='10%')": lambda: trained(schedules.Cosine(warmup="10%")),
            "as in 'warmup_cosine'": lambda: trained(LearningRateScheduler("warmup_cosine").schedule),
            "a mapping from optimizers to schedules": lambda: fit({"SGD": COSINE}, max_epochs=2),
        },
    ),
    "mapping of nothing": Case(
        lambda: LearningRateScheduler({}),
        ["schedule={}"],
        {"names no optimizer": lambda: fit({"SGD": COSINE}, max_epochs=2)},
    ),
    "total that is none": Case(
        lambda: LearningRateScheduler(COSINE, total_steps=1.5),
        ["total_steps=1.5"],
        {
            "a whole number of at least 1": lambda: trained(COSINE, **TOTAL),
            "or None": lambda: trained(COSINE, options={"total_steps": None}),
        },
    ),
    "optimizer that is not there": Case(
        lambda: fit({"Adam": COSINE}, max_epochs=2),
        ["schedule names the optimizer 'Adam'"],
        {
            "the module has 0": lambda: fit({0: COSINE}, max_epochs=2),
            "or 'SGD'": lambda: fit({"SGD": COSINE}, max_epochs=2),
        },
    ),
    "optimizer of the strategy's own": Case(
        lambda: fit(COSINE, max_epochs=2, strategy=OwnOptimizer()),
        ["OwnOptimizer trains with a Foreign", "not a torch.optim.Optimizer"],
        {"choose a strategy that keeps it": lambda: trained(COSINE, strategy="auto")},
    ),
    "no optimizer": Case(
        lambda: fit(COSINE, max_epochs=2, module=Tiny(lambda weights: None)),
        ["Tiny.configure_optimizers() returns no optimizer"],
        {"return one": lambda: trained(COSINE), "remove the LearningRateScheduler": lambda: untouched()},
    ),
    "no LR": Case(
        lambda: fit(COSINE, max_epochs=2, module=Tiny(OwnRate)),
        ["OwnRate has lr=None in group0"],
        {
            "with a number as in lr=1e-3": lambda: trained(COSINE),
            "leave the schedule out": lambda: quiet_trainer([], max_epochs=1).fit(Tiny(OwnRate), loader(8)),
        },
    ),
    "no groups": Case(
        lambda: COSINE.bind(emptied(), RUN),
        ["SGD has no parameter groups"],
        {"give it parameters": lambda: COSINE.bind(sgd([nn.Parameter(torch.ones(1))]), RUN)},
    ),
    "an optimizer that joins the run": Case(
        lambda: fit(COSINE, max_epochs=2, callbacks=[Joins()]),
        ["the Trainer has 2 optimizers now, and had 1 when training began", "SGD-1 has no schedule"],
        {"Return all optimizers from configure_optimizers": lambda: both()},
    ),
    "an optimizer that joins a record": Case(
        lambda: quiet_trainer([record_lrs(Path()), Joins()], max_epochs=2).fit(Tiny(), loader(8)),
        ["the Trainer has 2 optimizers now, and had 1 when training began", "SGD-1 has no schedule and no record"],
        {"Return all optimizers from configure_optimizers": lambda: both()},
    ),
    "updates that nobody can count": Case(
        lambda: fit(schedules.Fixed(), max_epochs=2, module=Secretly()),
        ["Secret changed parameters in this epoch", "0 calls of step() were seen"],
        {
            "Call its step()": lambda: trained(COSINE),
            "keep that one in an attribute and share its param_groups": lambda: trained(COSINE, module=Tiny(Wrapper)),
        },
    ),
    "updates that nobody can record": Case(
        lambda: fit(max_epochs=2, module=Secretly(), callbacks=[record_lrs(Path())]),
        ["Secret changed parameters in this epoch", "0 calls of step() were seen"],
        {"Call its step()": lambda: fit(max_epochs=2, callbacks=[record_lrs(Path())])},
    ),
    "two owners": Case(
        lambda: fit(COSINE, max_epochs=2, module=Tiny(with_step_lr)),
        ["Tiny.configure_optimizers() returns StepLR", "LearningRateScheduler(Cosine(warmup=4))"],
        {
            "Return the optimizer alone": lambda: trained(COSINE),
            "replace=True": lambda: trained(COSINE, module=Tiny(with_step_lr), options={"replace": True}),
            "with LearningRateWarmup": lambda: warmed(4, lambda n: 0.5 ** (n // 4), module=Tiny(with_step_lr)),
        },
    ),
    "weights that are averaged": Case(
        lambda: fit(COSINE, max_epochs=2, callbacks=[StochasticWeightAveraging(swa_lrs=0.05)]),
        ["StochasticWeightAveraging brings a scheduler of its own", "LearningRateScheduler(Cosine(warmup=4))"],
        {
            "Remove one of them": lambda: [
                trained(COSINE),
                fit(max_epochs=2, callbacks=[StochasticWeightAveraging(swa_lrs=0.05)]),
            ],
            "Lightning's WeightAveraging": lambda: trained(COSINE, callbacks=[callbacks.WeightAveraging()]),
        },
    ),
    "schedule and warmup": Case(
        lambda: fit(schedules.Cosine(), max_epochs=2, callbacks=[LearningRateWarmup(4)]),
        ["LearningRateScheduler and LearningRateWarmup would both write the LR"],
        {
            "remove LearningRateWarmup and give the schedule the warmup, as in schedules.Cosine(warmup=4)": partial(
                trained, COSINE
            )
        },
    ),
    "schedule that is bound by hand": Case(
        lambda: fit(schedules.Linear(), max_epochs=2, module=Binds()),
        ["Cosine(warmup=4), which is bound to the optimizer, and LearningRateScheduler would both write"],
        {"keep one of them": lambda: [trained(schedules.Linear()), bound_by_hand()]},
    ),
    "metric that is not there": Case(
        lambda: validated(schedules.Plateau(monitor="val_los")),
        ["monitor='val_los'", "no such metric was logged"],
        {
            "did you mean 'val_loss'": lambda: validated(schedules.Plateau(monitor="val_loss")),
            "there are val_loss": lambda: validated(schedules.Plateau(monitor="val_loss")),
        },
    ),
    "no metric at all": Case(
        lambda: validated(schedules.Plateau(), module=Silent()),
        ["monitor='val_loss'", "no such metric was logged"],
        {"self.log(...) in validation_step": lambda: validated(schedules.Plateau())},
    ),
    "metric that is no number": Case(
        lambda: validated(schedules.Plateau(), math.nan, 1.0),
        ["val_loss is not a number"],
        {"does not count for the plateau": lambda: validated(schedules.Plateau(), 1.0, 1.0)},
    ),
    "folder that is none": Case(
        lambda: LearningRateLogger(3),
        ["dirpath=3"],
        {
            "the path of a folder": lambda: trained(COSINE, callbacks=[record_lrs(Path("folder"))]),
            "or None": lambda: LearningRateLogger(None),
        },
    ),
    "folder that cannot be written": Case(
        lambda: fit(COSINE, max_epochs=2, callbacks=[record_lrs(a_file() / "folder")]),
        ["file/folder", "lr.csv cannot be written there"],
        {"give LearningRateLogger a folder that can be written": partial(trained, COSINE)},
    ),
    "folder that cannot be written any more": Case(
        lambda: fit(COSINE, max_epochs=2, callbacks=[AtTheEnd(becomes_a_file), record_lrs(Path("lrs"))]),
        ["lrs/lr.csv cannot be written (", "training goes on", "waits in memory"],
        {
            "put the folder back": lambda: (Path("lrs").unlink(), trained(COSINE)),
            "make room there": partial(trained, COSINE),
        },
    ),
    "record that another file is in the place of": Case(
        lambda: fit(COSINE, max_epochs=2, callbacks=[AtTheEnd(exchanged), record_lrs(Path("lrs"))]),
        ["lrs/lr.csv was replaced by somebody else", "as lr.2.csv"],
        {"give each run a folder of its own": lambda: trained(COSINE, callbacks=[record_lrs(Path("own"))])},
    ),
    "record that somebody else cuts": Case(
        lambda: fit(COSINE, max_epochs=2, callbacks=[AtTheEnd(cut), record_lrs(Path("lrs"))]),
        ["lrs/lr.csv was changed by somebody else", "which has cost 1 row"],
        {"let nobody else write there": partial(trained, COSINE)},
    ),
    "rows that find no place": Case(
        lambda: more_than_can_wait(),
        ["64 MB of rows wait for", "later ones are dropped"],
        {"make room there": partial(trained, COSINE), "put the folder back": partial(trained, COSINE)},
    ),
    "folder that another run records into": Case(
        lambda: beside_another_run(Path("lrs")),
        ["another run records into lrs/lr.csv", "this one's record is lr.2.csv"],
        {"give each run a folder of its own": lambda: beside_another_run(Path("own"), there=Path("lrs"))},
    ),
    "picture without matplotlib": Case(
        without_matplotlib(lambda: trained(COSINE, callbacks=[LearningRateLogger("lrs")])),
        ["the record is not drawn as lr.png", "needs matplotlib"],
        {
            "pip install matplotlib": lambda: trained(COSINE, callbacks=[LearningRateLogger("lrs")]),
            "give plot=False": without_matplotlib(
                lambda: trained(COSINE, callbacks=[LearningRateLogger("lrs", plot=False)])
            ),
        },
    ),
    "picture that cannot be drawn": Case(
        lambda: drawn_over_a_folder(plot=True),
        ["the record cannot be drawn: lr.png"],
        {
            "give plot=False": lambda: drawn_over_a_folder(plot=False),
            "make room for it": lambda: (
                Path("lrs/lr.png").rmdir(),
                trained(COSINE, callbacks=[LearningRateLogger("lrs")]),
            ),
        },
    ),
    "logger that takes nothing": Case(
        lambda: trained(COSINE, callbacks=[LearningRateLogger("lrs")], logger=Refusing(), log_every_n_steps=1),
        ["Refusing does not take the plan (OSError: 'no room')", "training goes on"],
        {
            "give LearningRateLogger(summary=False)": lambda: trained(
                COSINE, callbacks=[LearningRateLogger("lrs", summary=False)], logger=Refusing()
            ),
            "mend the logger": lambda: trained(
                COSINE, callbacks=[LearningRateLogger("lrs")], logger=CSVLogger("mended")
            ),
        },
    ),
    "LR that somebody else writes": Case(
        lambda: fit(COSINE, max_epochs=2, callbacks=[record_lrs(Path()), Writes()]),
        ["update 0 used LR 0.5 in group 'group0'", "the plan says 0.025"],
        {"which only the schedule should": partial(trained, COSINE)},
    ),
    "LR that somebody else writes, as an error": Case(
        lambda: fit(COSINE, max_epochs=2, callbacks=[record_lrs(Path(), audit="error"), Writes()]),
        ["update 0 used LR 0.5 in group 'group0'", "the plan says 0.025"],
        {"which only the schedule should": lambda: trained(COSINE, callbacks=[record_lrs(Path(), audit="error")])},
    ),
    "run that ends early": Case(
        lambda: fit(COSINE, max_epochs=2, options={"total_steps": 32}, callbacks=[record_lrs(Path())]),
        ["the run ended at update 16 of the 32"],
        {"give the schedule the length that the run really has": lambda: trained(COSINE, **TOTAL)},
    ),
    # Resuming
    "another plan": Case(
        lambda: resumed(schedules.Linear(), first=COSINE),
        ["the checkpoint (at update 8)", "schedule: Cosine -> Linear"],
        {
            "resume='checkpoint'": lambda: check(
                resumed(schedules.Linear(), "checkpoint", first=COSINE), plan(COSINE, 16)[8:]
            ),
            "resume='config'": lambda: check(
                resumed(schedules.Linear(), "config", first=COSINE), plan(schedules.Linear(), 16)[8:]
            ),
            "make this run's settings equal to the checkpoint's": lambda: check(resumed(COSINE), plan(COSINE, 16)[8:]),
            "LearningRateScheduler(..., resume='checkpoint')": lambda: check(
                resumed(schedules.Linear(), "checkpoint", first=COSINE), plan(COSINE, 16)[8:]
            ),
        },
    ),
    "other optimizers": Case(
        lambda: resumed_by(Both(), Both(), first={0: COSINE}, then={1: COSINE}),
        ["the checkpoint has schedules for SGD, and this run for SGD-1"],
        {
            "the same optimizers and the same mapping of schedules": lambda: resumed_by(
                Both(), Both(), first={0: COSINE}, then={0: COSINE}
            )
        },
    ),
    "positions that nobody has counted": Case(
        lambda: resumed_by(Both(), Both(), first=None, then=COSINE),
        ["the checkpoint holds no schedule", "SGD does not count its own updates"],
        {"start a new run from the weights instead": lambda: from_the_weights()},
    ),
    "damaged state": Case(
        lambda: edited(position_of("LearningRateScheduler", None)),
        [
            "the state of LearningRateScheduler in the checkpoint is damaged",
            "optimizers['SGD'].position is None, and must be a whole number",
        ],
        {
            "Take another checkpoint": lambda: goes_on(edited(lambda states: None)),
            "begin a new schedule at position 0 with resume='restart'": lambda: anew(
                edited(position_of("LearningRateScheduler", None), resume="restart")
            ),
        },
    ),
    "damaged record": Case(
        lambda: edited(lambda states: states["LearningRateLogger"]["audits"]["SGD"].pop("compared")),
        ["the state of LearningRateLogger in the checkpoint is damaged", "audits['SGD'].compared is missing"],
        {
            "Take another checkpoint": lambda: goes_on(edited(lambda states: None)),
            "take this part out of it, del checkpoint['callbacks']['LearningRateLogger']": lambda: goes_on(
                edited(lambda states: states.pop("LearningRateLogger"))
            ),
        },
    ),
    "positions that do not agree": Case(
        lambda: edited(lambda states: states["LearningRateLogger"]["positions"].update(SGD=9)),
        ["the checkpoint is damaged", "SGD is at update 8, and by LearningRateLogger at 9"],
        {
            "Take another checkpoint": lambda: goes_on(edited(lambda states: None)),
            "take one of the two out of it, as in del checkpoint['callbacks']['LearningRateLogger']": lambda: goes_on(
                edited(lambda states: states.pop("LearningRateLogger"))
            ),
        },
    ),
    "damaged warmup": Case(
        lambda: edited(without_lrs, LONG, epochs=3),
        ["position is 8 of a warmup of 12", "there are no LRs of a scheduler beneath it"],
        {
            "Take another checkpoint": lambda: check(
                edited(lambda states: None, LONG, epochs=3), pytest.approx(OWN_WARMUP)
            ),
        },
        never=["resume=", "del checkpoint"],  # the groups hold multiples of the LR that is lost
    ),
    "metric of a batch to come": Case(
        lambda: edited(without_checksum, PLATEAU, Validated),
        ["metrics.done_up_to is 1000000", "the last batch was 7"],
        {
            "Take another checkpoint": lambda: check(edited(lambda states: None, PLATEAU, Validated), [PEAK] * 8),
            "resume='restart'": lambda: check(
                edited(without_checksum, PLATEAU, Validated, resume="restart"), [PEAK] * 8
            ),
        },
    ),
}
