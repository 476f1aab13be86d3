"""Random command lines of `train.py` and `lr-recipes`, made from good ones, and how the programs must answer."""

from __future__ import annotations

import io
import os
import random
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import lr_recipes.command_line
import train
from recipes.app.config import CONF, is_sweep

_SECONDS = 60.0  # that a line may take; on a busy machine too
_LONGEST = 6000  # characters of an answer
_TRAIN_SHARE = 16  # one in so many lines is of `train.py`, which takes fifty times as long

TRAIN = [
    [],
    ["schedule=one_cycle", "optimizer=sgd", "optimizer.lr=0.1", "model.width=4"],
    ["recipe=transformer", "schedule.warmup=10%", "model.width=8"],
    ["schedule=step", "schedule.step_size=10 epochs", "schedule.warmup=5ep", "trainer.max_epochs=30", "seed=3"],
    ["recipe=large_batch", "optimizer.lr=0.4", "data.batch_size=64", "trainer.devices=2"],
    ["ckpt_path=runs/last.ckpt", "resume=config", "trainer.max_epochs=30"],
    ["data=glyphs", "output_dir=mine", "trainer=cpu", "threads=1", "logger=none"],
    ["-m", "schedule=step,cosine", "seed=1,2"],
    ["recipe=fine_tuning", "weights=best.ckpt", "pretrained_dir=pretrained"],
    ["callbacks=[learning_rate_scheduler,learning_rate_logger]", "trainer.limit_train_batches=0.5"],
    ["data=text_file", "model=transformer_tiny", "data.path=book.txt"],
    ["--cfg", "job", "schedule=multistep", "schedule.milestones=[50%,75%]"],
]  # fmt: skip
PREVIEW = [
    ["preview", "schedule=warmup_cosine", "total_steps=10000"],
    ["preview", "schedule=step,cosine,one_cycle", "total_steps=90ep", "steps_per_epoch=100", "csv=all.csv"],
    ["preview", "schedule=warmup_linear", "schedule.warmup=500 steps", "total_steps=10000", "lr=0.001"],
    ["preview", "schedule=multistep", "schedule.milestones=[10, 50%]", "schedule.gamma=0.5", "total_steps=1k"],
    ["preview", "schedule=plateau", "schedule.patience=3", "schedule.min_lr=1e-5", "lr=0.1", "total_steps=200"],
    ["preview", "schedule=inverse_sqrt", "schedule.warmup=10k samples", "samples_per_step=256", "total_steps=500"],
    ["preview", "schedule=warmup_stable_decay", "schedule.decay=20%", "total_steps=1000"],
]
# What once ended in a traceback, or was understood by nobody: the first seeds.
ONCE = [
    ("train.py", ["task=preview", "model=[1,2]"]),
    ("train.py", ["task=preview", "optimizer=[0.1]"]),
    ("train.py", ["task=preview", "output_dir=null"]),
    ("train.py", ["task=preview", "schedule._target_=inf"]),
    ("train.py", ["task=preview", "trainer.max_epochs=" + "9" * 300]),
    ("train.py", ["task=preview", "ckpt_path=/home/me/my run's/épochs (1)/a=b.ckpt"]),
    ("train.py", ["--flag=\n"]),
    ("train.py", ["~task"]),
    ("lr-recipes", ["preview", "schedule=cosine", "total_steps=" + "9" * 300]),
    ("lr-recipes", ["preview", "schedule=\t", "total_steps=90"]),
]
_VALUES = [
    "9" * 300, "-" + "9" * 300, "9" * 5000, "1e400", "nan", "inf", "-inf", "1e-320", "0", "-1", "1", "0.5", "-0.0",
    "true", "yes", "null", "", " ", "[]", "{}", "[1,2]", "[0.1]", "[a]", "{a:1}", "[[1]]", "[[[[", "]", "[" * 300,
    "'", '"', "it's", "a b", "a,b", "a=b", "été (1)", "日本語", "\\", "\\'", "a\nb", "\t", "~", "*", "%", "@", "#", "`",
    "${x}", "${output_dir}", "${seed}", "${oc.env:NO_SUCH}", "${now:", "${", "choice(1,2)", "range(3)", "sort(",
    "glob(*)", "/no/such folder/last.ckpt", "5 parsecs", "5%", "500%", "3 epochs", "1e9 epochs", "x" * 5000, "a,b,c,",
    "!!python/object:os.system", "&a", "- a", "? b", "a: b", "2001-01-01", "1_000", "0x10", "\udcff", "\x1b[31m", "<b>",
]  # fmt: skip
_WORDS = [
    "--foo",
    "-x",
    "--cfg",
    "--info=zzz",
    "--config-name=nope",
    "--",
    "-",
    "=",
    "==",
    "é=1",
    "a b=1",
    "@x=1",
    ".=1",
]
_LETTERS = "abcxyz._-+~@/=,:'\"[](){}$ \\é0"


class Answer(NamedTuple):
    """How a program ended, and what it wrote."""

    status: Any
    out: str
    err: str


def draw(seed: int) -> tuple[str, list[str]]:
    """Return a program and what is typed after its name; from the seed alone."""
    if seed < len(ONCE):
        return ONCE[seed]
    rng = random.Random(seed)
    if rng.randrange(_TRAIN_SHARE) == 0:
        line = rng.choice(TRAIN)
        changed = _changed(rng, line, _keys())
        return "train.py", ["task=preview", *changed]  # all that training would refuse, and no training
    return "lr-recipes", _changed(rng, rng.choice(PREVIEW), [*lr_recipes.command_line.KEYS, "schedule.warmup"])


def _changed(rng: random.Random, line: Sequence[str], keys: Sequence[str]) -> list[str]:
    changed = list(line)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        _CHANGES[rng.randrange(len(_CHANGES))](rng, changed, keys)
    return changed


def _other_value(rng: random.Random, line: list[str], keys: Sequence[str]) -> None:
    if line:
        index = rng.randrange(len(line))
        key, equals, _ = line[index].partition("=")
        line[index] = key + equals + _value(rng)


def _another(rng: random.Random, line: list[str], keys: Sequence[str]) -> None:
    sign = rng.choice(["", "", "", "", "+", "++", "~"])
    value = "" if sign == "~" and rng.random() < 0.5 else f"={_value(rng)}"
    line.insert(rng.randint(0, len(line)), sign + rng.choice(keys) + value)


def _misspelt(rng: random.Random, line: list[str], keys: Sequence[str]) -> None:
    if line:
        index = rng.randrange(len(line))
        at, word = rng.randint(0, len(line[index])), line[index]
        line[index] = word[:at] + rng.choice(["", rng.choice(_LETTERS)]) + word[at + rng.randint(0, 1) :]


def _left_out(rng: random.Random, line: list[str], keys: Sequence[str]) -> None:
    if line:
        line.pop(rng.randrange(len(line)))


def _odd_word(rng: random.Random, line: list[str], keys: Sequence[str]) -> None:
    line.insert(rng.randint(0, len(line)), rng.choice([*_WORDS, _value(rng)]))


def _value(rng: random.Random) -> str:
    if rng.random() < 0.85:
        return rng.choice(_VALUES)
    return "".join(rng.choice(_LETTERS) for _ in range(rng.randint(1, 12)))


_CHANGES: list[Callable[[random.Random, list[str], Sequence[str]], None]] = [
    _other_value, _other_value, _other_value, _another, _another, _misspelt, _misspelt, _left_out, _odd_word,
]  # fmt: skip


@cache
def _keys() -> list[str]:
    """Every dotted key of a config, groups included; but for those of the task, which decides whether it trains."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["output_dir=x"])
    plain: Any = OmegaConf.to_container(cfg, resolve=False)
    return [key for key in _dotted(plain, "") if not key.startswith("task")] + ["hydra.run.dir", "hydra.job.name"]


def _dotted(node: dict[str, Any], path: str) -> list[str]:
    found = []
    for key, value in node.items():
        found.append(f"{path}{key}")
        if isinstance(value, dict):
            found += _dotted(value, f"{path}{key}.")
    return found


def answer(program: str, typed: Sequence[str]) -> Answer:
    """Run a program in this process."""
    out, err = io.StringIO(), io.StringIO()
    argv, environment = sys.argv, dict(os.environ)
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if program == "train.py":
                sys.argv = [program, *typed]
                train.command_line()
                status: Any = 0
            else:
                status = lr_recipes.command_line.main(typed)
        except SystemExit as ended:
            status = ended.code
        except Exception as error:
            status = "".join(traceback.format_exception(error)[-4:])
        finally:
            sys.argv = argv
            os.environ.clear()
            os.environ.update(environment)
    return Answer(status, out.getvalue(), err.getvalue())


def wrong_with(program: str, typed: Sequence[str]) -> str:
    """Run a line; return what is wrong with the answer, or nothing."""
    started = time.monotonic()
    found = answer(program, typed)
    seconds = time.monotonic() - started
    many = is_sweep(typed)  # of as many jobs as there are schedules, say
    return f"took {seconds:.0f} s" if seconds > (20 * _SECONDS if many else _SECONDS) else wrong_in(found, sweep=many)


def wrong_in(found: Answer, sweep: bool = False) -> str:
    """Return what is wrong with an answer, or nothing; each job of a sweep has an answer of its own."""
    status, _, err = found
    lines = [line for line in err.splitlines() if not line.startswith("Warning: ")]
    if sweep:  # of the first that failed Hydra says which it was
        lines = list(dict.fromkeys(line for line in lines if not line.startswith("Error executing job")))[:1]
    if status not in (0, 2):
        return f"ended with {status}: {err[-500:]}"
    if len(err) > _LONGEST:
        return f"said {len(err):,} characters: {err[:300]}"
    if status == 0 and lines:
        return f"ended well and complained: {err[-500:]}"
    if status == 2 and not (len(lines) == 1 and lines[0].startswith("Error: ") and len(lines[0]) > 20):
        return f"is not one sentence: {err[-800:]}"
    return ""
