"""Records of LRs that others wrote: each LR is that of the update that used it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.tensorboard import SummaryWriter

from lr_recipes import schedules
from lr_recipes.plan.horizon import Horizon
from lr_recipes.report.record_audit import audit_record
from lr_recipes.report.recorded import Record, RecordError, Track
from lr_recipes.report.records import read_record
from tests.callbacks.harness import Tiny, fit, record_lrs

DATA = Path(__file__).parents[1] / "data" / "records"
UPDATES = 20


class Uses(Callback):
    """Notes what each update uses, in a hook on the optimizer."""

    def __init__(self) -> None:
        self.lrs: list[list[float]] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        trainer.optimizers[0].register_step_pre_hook(
            lambda optimizer, *_: self.lrs.append([group["lr"] for group in optimizer.param_groups])
        )


def two_groups(weights: Any) -> Any:
    optimizer = SGD([{"params": [weights[0]], "lr": 0.1}, {"params": [weights[1]], "lr": 0.01}], momentum=0.9)
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": CosineAnnealingLR(optimizer, UPDATES), "interval": "step"},
    }


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[float]]]:
    """A run of Lightning's with its own loggers, and what its updates used."""
    folder, uses = tmp_path_factory.mktemp("run"), Uses()
    loggers = [CSVLogger(folder, "csv", ""), TensorBoardLogger(folder, "tb", "")]
    monitor = LearningRateMonitor(log_momentum=True, log_weight_decay=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit(
            batches=20,
            module=Tiny(two_groups),
            max_epochs=2,
            accumulate_grad_batches=2,
            logger=loggers,
            log_every_n_steps=3,
            callbacks=[monitor, uses],
        )
    return folder, uses.lrs


def by_update(record: Record) -> dict[str, dict[int, float]]:
    return {
        name: dict(zip(read.updates, lrs, strict=True))
        for samples in record.optimizers()
        for read in [samples.earlier(record.early[0])]
        for name, lrs in zip(read.names, read.lrs, strict=True)
    }


@pytest.mark.parametrize("place", ["csv/metrics.csv", "tb"])
def test_lightnings_loggers(monitored: tuple[Path, list[list[float]]], place: str) -> None:
    folder, used = monitored
    assert len(used) == UPDATES
    found = by_update(read_record(folder / place))
    assert list(found) == ["lr-SGD/pg1", "lr-SGD/pg2"]
    for group, lrs in enumerate(found.values()):
        assert list(lrs) == [2, 5, 8, 11, 14, 17]
        assert lrs == pytest.approx({update: used[update][group] for update in lrs}, rel=1e-7)


def test_the_file_of_a_logger_of_ours(tmp_path: Path) -> None:
    run = fit(schedules.Cosine(warmup=3), max_epochs=2, callbacks=[record_lrs(tmp_path)])
    (lrs,) = by_update(read_record(tmp_path / "lr.csv")).values()
    assert list(lrs.items()) == list(enumerate(run.used))


def test_a_state_of_transformers() -> None:
    """The LR of step n is that of update n - 1."""
    used = json.loads((DATA / "trainer_state_used.json").read_text())["used_by_update"]
    record = read_record(DATA / "trainer_state.json")
    assert record.total == len(used) == 48
    (lrs,) = by_update(record).values()
    assert list(lrs) == list(range(3, 48, 4))
    assert lrs == pytest.approx({update: used[update] for update in lrs})


def test_a_state_that_transformers_writes_now(tmp_path: Path) -> None:
    """The committed one's settings, with the packages that are there."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    used: list[float] = []
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    model = transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=8, **sizes))
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=2, per_device_train_batch_size=1, logging_steps=4, warmup_steps=8,
        learning_rate=1e-3, lr_scheduler_type="linear", use_cpu=True, save_strategy="no", report_to=[],
        disable_tqdm=True,
    )  # fmt: skip
    trainer = transformers.Trainer(model, arguments, train_dataset=[{"input_ids": [1, 2], "labels": 0}] * 24)
    trainer.create_optimizer().register_step_pre_hook(lambda one, *_: used.append(one.param_groups[0]["lr"]))
    trainer.train()
    trainer.save_state()
    assert used == pytest.approx(json.loads((DATA / "trainer_state_used.json").read_text())["used_by_update"])
    (lrs,) = by_update(read_record(tmp_path / "trainer_state.json")).values()
    assert lrs == pytest.approx({update: used[update] for update in range(3, 48, 4)})


def test_a_chart_of_wandb() -> None:
    """Each run is one of its own; the name of a run is no name of an LR."""
    used = json.loads((DATA / "trainer_state_used.json").read_text())["used_by_update"]
    first, second = by_update(read_record(DATA / "wandb_chart.csv")).values()
    assert first == pytest.approx({update: used[update] for update in range(3, 48, 4)})
    assert second == pytest.approx({update: 2 * used[update] for update in range(3, 24, 4)})


def test_events_as_tensors_and_of_several_runs(tmp_path: Path) -> None:
    for run, lr in (("a", 0.1), ("b", 0.2)):
        with SummaryWriter(str(tmp_path / run)) as writer:
            for step in range(3):
                writer.add_scalar("opt/lr", lr * step, step, new_style=True)
                writer.add_scalar("opt/loss", 1.0, step)
    found = by_update(read_record(tmp_path))
    assert found == {
        f"{run} - opt/lr": pytest.approx({step: lr * step for step in range(3)}) for run, lr in (("a", 0.1), ("b", 0.2))
    }
    (file,) = (tmp_path / "a").iterdir()
    file.write_bytes(file.read_bytes()[:-5])  # the writer was killed
    record = read_record(file)
    assert record.remarks() == ["1 event file cut off or damaged: read up to there"]


def test_tensorboard_is_asked_for_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("lr", 0.1, 0)
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(RecordError, match="pip install tensorboard"):
        read_record(tmp_path)


# What a record may have in it


def table(tmp_path: Path, text: str | bytes) -> Record:
    path = tmp_path / "record.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_record(path)


@pytest.mark.parametrize(
    "text",
    [
        "step,lr\n0,0.1\n1,0.2\n",
        "\ufeffstep,lr\r\n0,0.1\r\n1,0.2",
        "step;loss;lr\n0;;0.1\n1;;0.2\n",
        "Step\tlr\n0\t0.1\n1.0\t0.2\n",
        "step,lr\n0,0.1\n1,0.2\n".encode("utf-16"),
        "step,lr,größe\n0,0.1,\n1,0.2,ü\n".encode("latin-1"),
        "step,lr\n0,0.1\n0,0.1\n1,0.2\n\n",
        "step,lr\n5,1\n0,0.1\n1,0.2\n",
        "step,lr\n-1,7\n0,0.1\n1,0.2\n1e30,7\n2.5,7\n",
        "step,lr,lr__MIN,lr__MAX\n0,0.1,0.1,0.1\n1,0.2,0.2,0.2\n2,0.3,0.1,0.5\n",
        "step,loss,lr-SGD-momentum,lr\n0,1,0.9,0.1\n1,1,0.9,0.2\nbroken\n",
    ],
)
def test_a_table_of_two_updates(tmp_path: Path, text: str | bytes) -> None:
    (lrs,) = by_update(table(tmp_path, text)).values()
    assert lrs == {0: 0.1, 1: 0.2}


def test_a_run_that_goes_on_from_its_checkpoint() -> None:
    track = Track("lr")
    for update, lr in [(0, 0.1), (10, 0.2), (20, 0.3), (30, 0.4), (15, 0.25), (25, 0.35)]:
        track.add(update, lr)
    assert (list(track.updates), list(track.lrs), track.again) == ([0, 10, 15, 25], [0.1, 0.2, 0.25, 0.35], 2)


def test_lrs_that_are_none_are_faults(tmp_path: Path) -> None:
    record = table(tmp_path, "step,lr\n0,0.1\n1,nan\n2,inf\n3,x\n4,1e39\n")
    (fault,) = record.faults()
    assert fault.startswith("lr: 4 recorded LRs cannot be used")
    assert "at update 1:" in fault
    assert audit_record("f", record, None).found


def test_very_many_rows_take_time_in_proportion(tmp_path: Path) -> None:
    """As many LRs as there are rows, so whatever looks at all of them for each one would not end."""
    rows = "".join(f"{n},{1 - n / 60000!r}\n" for n in range(60000))
    found = audit_record("f", table(tmp_path, f"step,lr\n{rows}"), None)
    assert "recorded 60,000 of 60,000 updates" in str(found)


# Judged against a plan


def compared(record: Record, schedule: Any, total: int, lr: float | None = None) -> Any:
    return audit_record("f", record, total, lambda bases: schedule.plan(Horizon.of(total), bases), lr)


def sampled(lr_of: Callable[[int], float], steps: range, early: tuple[int, ...] = (0,)) -> Record:
    track = Track("lr")
    for step in steps:
        track.add(step, lr_of(step))
    return Record("a test", [track], early=early)


def cosine(update: int) -> float:
    return 0.05 * (1 + math.cos(math.pi * update / 100))


def test_used_and_planned_are_equal_where_it_was_recorded() -> None:
    found = compared(sampled(cosine, range(9, 100, 10)), schedules.Cosine(), 100)
    assert not found.found
    assert "recorded 10 of 100 updates, every 10th (updates 9 to 99)" in str(found)
    assert "used = planned on 10 of 10 updates, schedule complete" in str(found)


def test_it_says_where_a_group_first_differs() -> None:
    found = compared(sampled(lambda n: cosine(n) * (2 if n >= 50 else 1), range(0, 100, 10)), schedules.Cosine(), 100)
    assert found.found
    (apart,) = found.judged[0].apart
    assert str(apart) == "group lr: first at update 50, used 0.1, planned 0.05 (difference 0.05)"
    assert "used = planned on 5 of 10 updates" in str(found)


def test_the_peak_is_that_of_the_record_or_the_one_given() -> None:
    record = sampled(cosine, range(0, 100, 10))
    assert not compared(record, schedules.Cosine(), 100, 0.1).found
    assert compared(record, schedules.Cosine(), 100, 0.2).judged[0].audit.different == 10


def test_steps_that_count_what_is_done_are_read_as_such() -> None:
    found = compared(sampled(lambda n: cosine(n - 1), range(1, 101), (0, 1)), schedules.Cosine(), 100)
    assert not found.found
    assert "read as that of the update before it" in str(found)
    # From step 0 on they count from 0, so the LR is late.
    late = compared(sampled(lambda n: cosine(max(n - 1, 0)), range(100), (0, 1)), schedules.Cosine(), 100, 0.1)
    assert late.judged[0].apart[0].update == 1


def test_lrs_of_older_transformers() -> None:
    """They had ticked the scheduler before they logged."""
    found = compared(sampled(cosine, range(1, 101), (1, 0)), schedules.Cosine(), 100)
    assert not found.found
    assert "older versions of transformers" in str(found)


@pytest.mark.parametrize(
    ("lr_of", "held"), [(cosine, 1), (lambda n: min(n + 1, 5), 1), (lambda n: cosine(n // 8 * 8), 8)]
)
def test_how_long_an_lr_is_held_while_it_changes(lr_of: Callable[[int], float], held: int) -> None:
    """At each update, before a plateau, and in epochs."""
    (samples,) = sampled(lr_of, range(100)).optimizers()
    assert samples.held(samples.series(None)) == held


@pytest.mark.parametrize("lrs", [(0.0, 0.0), (0.1, -0.1), (1e-300, 5e-324), (3e38, -3e38), (0.1,)])
def test_odd_lrs_are_drawn(lrs: tuple[float, ...]) -> None:
    found = audit_record("f", sampled(lambda n: lrs[n], range(len(lrs))), None)
    assert "learning rate" in str(found)
    found.plot()


def test_names_of_strangers_cannot_move_the_cursor(tmp_path: Path) -> None:
    record = table(tmp_path, "step,lr-\x1b[2J/a,lr-\x1b[2J/b\n0,0.1,nan\n1,0.2,0.1\n")
    found = compared(record, schedules.Cosine(), 2)
    assert all(line.isprintable() for line in str(found).splitlines())
    assert r"lr-\x1b[2J" in str(found)
