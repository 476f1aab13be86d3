"""What ``lr-recipes audit`` says of files that are no records, or none that can be read."""

from __future__ import annotations

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from lr_recipes.report.records import read_record
from tests.callbacks.harness import fit, record_lrs
from tests.messages.doors import COSINE, Case, Door, without_module
from tests.messages.previews import typed

STATE = Path(__file__).parents[1] / "data" / "records" / "trainer_state.json"
PLAN = ("schedule=cosine", "schedule.warmup=4", "total_steps=16")


def audited(*words: str, path: str = "lr.csv") -> Door:
    """``lr-recipes audit`` of a record of ours, or of another file that is there."""

    def door() -> None:
        if path == "lr.csv":
            fit(COSINE, max_epochs=2, callbacks=[record_lrs(Path())])
        typed("audit", path, *words)

    return door


def of(content: str | bytes, *words: str) -> Door:
    """The same of a file with this content."""

    def door() -> None:
        Path("record").write_bytes(content if isinstance(content, bytes) else content.encode())
        typed("audit", "record", *words)

    return door


def events() -> None:
    with SummaryWriter("events") as writer:
        writer.add_scalar("lr", 0.1, 0)


def unread_events() -> None:
    events()
    with without_module("tensorboard.compat.proto.event_pb2"):
        read_record("events")


def read_again() -> None:
    events()
    read_record("events")


RECORDS: dict[str, Case] = {
    "no file": Case(
        lambda: typed("audit", *PLAN), ["which file?"], {"lr-recipes audit lr.csv": audited(*PLAN)}
    ),
    "two schedules": Case(
        audited("schedule=cosine,step"),
        ["with one schedule, and 2 were given"],
        {"as in schedule=cosine": audited(*PLAN)},
    ),
    "LR without a plan": Case(
        audited("lr=0.1"),
        ["lr is of a plan, and no schedule is given"],
        {"add schedule=NAME": audited("lr=0.1", *PLAN), "leave it out": audited()},
    ),
    "file that is not there": Case(
        lambda: typed("audit", "gone.csv"),
        ["gone.csv cannot be read (No such file"],
        {"give an lr.csv": audited(), "trainer_state.json": audited(path=str(STATE))},
    ),
    "device": Case(
        lambda: typed("audit", "/dev/null"), ["/dev/null is a device or a pipe"], {"give an lr.csv": audited()}
    ),
    "picture": Case(
        of(b"\x89PNG\r\n\x1a\n"), ["record is a picture"], {"give an lr.csv": audited()}
    ),
    "folder without events": Case(
        lambda: typed("audit", "."),
        [". has no event files"],
        {"give a folder with some": read_again, "lr.csv": audited(), "trainer_state.json": audited(path=str(STATE))},
    ),
    "no tensorboard": Case(unread_events, ["is read with tensorboard"], {"pip install tensorboard": read_again}),
    "no LRs": Case(
        of("step,loss,rate\n0,1,0.1\n"),
        ["record has no learning rates: there are 'step', 'loss', 'rate'"],
        {
            "column=NAME": of("step,loss,rate\n0,1,0.1\n", "column=rate"),
            "let LearningRateLogger or LearningRateMonitor record the run": audited(),
        },
    ),
    "column that is not there": Case(
        of("step,loss,rate\n0,1,0.1\n", "column=rat"),
        ["record has no column 'rat'"],
        {
            "did you mean 'rate'": of("step,loss,rate\n0,1,0.1\n", "column=rate"),
            "take one of 'step', 'loss', 'rate'": of("step,loss,rate\n0,1,0.1\n", "column=rate"),
        },
    ),
    "no updates": Case(
        of("time,lr\n0.5,0.1\n"),
        ["record does not say which update a row is of: there are 'time', 'lr'"],
        {
            "name the column of updates step": of("step,lr\n0,0.1\n"),
            "global_step as the X axis": of('"train/global_step","a - lr"\n"1","0.1"\n'),
        },
    ),
    "no values": Case(
        of("step,lr,rate\n0,,0.1\n"),
        ["record has lr, and no LR of a single update"],
        {
            "record the run again": of("step,lr,rate\n0,0.1,0.1\n"),
            "column=NAME": of("step,lr,rate\n0,,0.1\n", "column=rate"),
        },
    ),
    "other JSON": Case(
        of("{}"), ["record has no log_history"], {"give the trainer_state.json": audited(path=str(STATE))}
    ),
}  # fmt: skip
