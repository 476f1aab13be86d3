"""A checkpoint, a run folder and what lies in it may come from anywhere: ``docs/security.md``, put to the test.

``test_plain_...`` hold what that page says of Lightning and Hydra in the same case.
"""

from __future__ import annotations

import ast
import csv
import http.server
import logging
import os
import pickle
import random
import re
import threading
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from hydra.main import _get_rerun_conf
from hydra.utils import get_method, instantiate
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError
from torch.optim import SGD

from lr_recipes import Horizon, LearningRateLogger, schedules
from lr_recipes.callbacks.fit import optimizer_names
from lr_recipes.callbacks.folder import Folder
from lr_recipes.callbacks.learning_rate_scheduler import check_optimizers
from lr_recipes.callbacks.telling import tell, warn
from lr_recipes.checks import one_line, visible
from lr_recipes.command_line import main
from lr_recipes.plan.resume import ResumeError, choose
from lr_recipes.report.audit import Audit
from lr_recipes.report.words import in_words
from recipes.app import config
from recipes.app.checkpoints import check_paths, check_weights, read_checkpoint
from recipes.app.config import CONF
from recipes.app.csv_logger import AppendingCSVLogger
from recipes.app.messages import explain
from recipes.app.preview import _overrides
from recipes.app.run_folder import Visible, run_folder, with_settings_of_the_run
from recipes.app.taken_over import CHOICES, OF_ONE_START, PLACES, VALUES, why_not
from recipes.app.training import best_checkpoint
from recipes.reproduction.store import Store
from tests import ready
from tests.callbacks.harness import PEAK, Tiny, fit, keep_all, loader, messages, quiet_trainer, record_lrs, sgd

ROOT = Path(__file__).parents[1]
ESCAPES = "\x1b[2J\x1b]0;title\x07"  # clears the screen, and writes the window's title
COSINE = schedules.Cosine(warmup=2)


class Touches:
    """Unpickled, it makes a file: code has been run."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def a_run(folder: Path, *overrides: str, checkpoint: Any = None) -> list[str]:
    """Make a run folder; return the word that goes on in it."""
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({"state_dict": {}} if checkpoint is None else checkpoint, folder / "checkpoints" / "last.ckpt")
    (folder / ".hydra").mkdir()
    OmegaConf.save(OmegaConf.create(list(overrides)), folder / ".hydra" / "overrides.yaml")
    return [f"ckpt_path={folder}/checkpoints/last.ckpt"]


# The settings of a run folder

HONEST = [
    "schedule=one_cycle", "optimizer=sgd", "trainer.max_epochs=3", "data=digits", "schedule.warmup=5 epochs",
    "optimizer.lr=0.1", "recipe=published/transformer", "callbacks=[learning_rate_scheduler,learning_rate_logger]",
    "trainer.devices=[0,1]", "~callbacks.best_checkpoint", "optimizer.lr=${scaled_lr:}", "seed=3", "logger=none",
    "callbacks.best_checkpoint.monitor=val/acc", "trainer.max_time=00:01:00:00", "+optimizer.foreach=true",
    "schedule.milestones=[10,'50%']", "++trainer.precision=bf16-mixed", "model.pretrained=IMAGENET1K_V1", "trainer=cpu",
    "batch_scaling.base_lr=0.1", "optimizer.betas=[0.9,0.95]", "data.modules=[argparse,csv]", "task.objective=val_acc",
    "schedule.min_lr_ratio=null", "data.label_noise=1e-2", "trainer.max_time={hours: 1}",
]  # fmt: skip
CODE, PLACE, ELSEWHERE = "names code", "names a place", "takes its value from elsewhere"
OPTION, OTHERS, SEVERAL = "is not a setting", "is not a setting of this program", "stands for several"
HOSTILE = {
    "--experimental-rerun=x.pickle": OPTION, "--config-dir=/tmp/evil": OPTION, "-cd=/tmp/evil": OPTION, "-m": OPTION,
    "--multirun": OPTION, "--config-name=evil": OPTION, "--": OPTION, "optimizer.lr": OPTION, "": OPTION,
    "optimizer.lr=[": OPTION, "optimizer.lr=glob": None, "optimizer.lr=foo(1)": OPTION, "seed=1\nseed=2": OPTION,
    "optimizer.x=" + "[" * 900: OPTION, "optimizer.x=" + "x" * 1000: OPTION, "seed=\x1b[2J": OPTION,
    "+schedule._target_=os.system": CODE, "schedule._target_=os.system": CODE, "~schedule._target_": CODE,
    "++callbacks.x._partial_=true": CODE, "optimizer._args_=[1]": CODE, "task.function=os.system": CODE,
    "schedule={_target_: os.system}": CODE, "schedule=[{_target_: os.system}]": CODE,
    "+callbacks.x={_target_: os.system, command: id}": CODE, "+optimizer.x={a: [{b: {_target_: os.system}}]}": CODE,
    "+optimizer.x={function: os.system}": CODE, "data._convert_=all": CODE,
    "optimizer.lr=${oc.env:HOME}": ELSEWHERE, "optimizer.lr='${oc.env:HOME}'": ELSEWHERE,
    "+optimizer.x=[1,{a: 'b ${oc.env:HOME}'}]": ELSEWHERE, "trainer.profiler='\\${oc.env:HOME}'": ELSEWHERE,
    "optimizer.lr='${oc.decode:${oc.env:X}}'": ELSEWHERE, "seed=${hydra:runtime.cwd}": ELSEWHERE,
    "optimizer.lr=${scaled_lr:}${oc.env:X}": ELSEWHERE, "seed=${seed}": ELSEWHERE,
    "schedule=../../evil": PLACE, "schedule=/etc/x": PLACE, "data=evil.yaml": PLACE, "recipe=pkg://evil": PLACE,
    "callbacks=[default,../../evil]": PLACE, "schedule=a/../../b": PLACE, "schedule=file:///evil": PLACE,
    "checkpoint_dir=x": PLACE, "pretrained_dir=x": PLACE, "data.root=/d": PLACE,
    "data.path=.env": PLACE, "model.pretrained=../x.pt": PLACE, "model.pretrained=x.pt": PLACE,
    "trainer.default_root_dir=x": PLACE, "callbacks.best_checkpoint.dirpath=x": PLACE, "data.download=true": PLACE,
    "callbacks.best_checkpoint.filename=../../x": PLACE, "callbacks.best_checkpoint.filename='..'": PLACE,
    "logger.wandb.offline=false": PLACE, "logger.csv={save_dir: x}": PLACE, "+optimizer.x=[s3://bucket/x]": PLACE,
    "+optimizer.x='~/x'": PLACE, "+optimizer.x='C:/x'": PLACE, "+optimizer.x='a\\b'": PLACE,
    "+callbacks.learning_rate_logger={dirpath: x}": PLACE, "data.modules=['/home/me/secret']": PLACE,
    "hydra.run.dir=/elsewhere": OTHERS, "hydra/launcher=joblib": OTHERS, "hydra.searchpath=[file:///evil]": OTHERS,
    "hydra/sweeper=evil": OTHERS, "hydra.sweep.dir=x": OTHERS, "hydra.job.env_set.PATH=x": OTHERS,
    "hydra.callbacks.x=1": OTHERS, "schedule@optimizer=fixed": OTHERS, "defaults=[x]": OTHERS, "+evil=1": OTHERS,
    "+evil={_target_: os.system}": OTHERS, "trainer.plugins={'${oc.env:X}': 1}": OPTION,
    "optimizer.lr=0.1,0.2": SEVERAL, "schedule=step,cosine": SEVERAL, "seed=range(1,99)": SEVERAL,
    "schedule=glob(*)": SEVERAL, "seed=choice(1,2)": SEVERAL, "optimizer.lr=interval(0,1)": SEVERAL,
}  # fmt: skip


@pytest.mark.behaviour("B66")
@pytest.mark.parametrize("word", HONEST)
def test_settings_of_an_own_run_are_taken_over(word: str, tmp_path: Path) -> None:
    typed = a_run(tmp_path / "run", word)
    arguments, said = with_settings_of_the_run(typed)
    assert arguments == [word, *typed]
    assert said == f"Going on with the settings of the run: {word}"


@pytest.mark.behaviour("B66")
@pytest.mark.parametrize("word", [word for word, reason in HOSTILE.items() if reason])
def test_what_a_strangers_folder_must_not_say_is_left_out_and_said(word: str, tmp_path: Path) -> None:
    typed = a_run(tmp_path / "run", "schedule=step", word, "seed=5")
    arguments, said = with_settings_of_the_run(typed)
    assert arguments == ["schedule=step", "seed=5", *typed]
    first, left, line, advice = said.splitlines()
    assert first == "Going on with the settings of the run: schedule=step seed=5"
    assert left == "Left out of what the run's folder says:"
    assert f" {HOSTILE[word]}" in line
    assert said.replace("\n", "").isprintable()
    assert "type beside ckpt_path=..." in advice


@pytest.mark.behaviour("B66")
def test_what_is_typed_is_taken_whatever_it_is(tmp_path: Path) -> None:
    """The advice, followed: nobody is told of a setting that stands on the command line."""
    run = a_run(tmp_path / "run", "data=cifar10", "data.root=/datasets", "hydra.run.dir=x", "schedule._target_=x")
    typed = [*run, "data.root=/datasets", "hydra.run.dir=x", "schedule._target_=x"]
    assert with_settings_of_the_run(typed) == (
        ["data=cifar10", *typed],
        "Going on with the settings of the run: data=cifar10",
    )


@pytest.mark.behaviour("B66")
def test_what_belongs_to_one_start_is_not_taken_over(tmp_path: Path) -> None:
    own = ["output_dir=/etc", "+output_dir=/etc", "resume=config", "weights=/x", "pretraining=['schedule._target_=x']"]
    typed = a_run(tmp_path / "run", *own, "ckpt_path=/other/last.ckpt")
    assert with_settings_of_the_run(typed) == (typed, "")


@pytest.mark.behaviour("B66")
def test_of_very_much_that_is_left_out_some_is_shown(tmp_path: Path) -> None:
    typed = a_run(tmp_path / "run", *(f"hydra.x{n}={'y' * 900}" for n in range(60)))
    lines = with_settings_of_the_run(typed).said.splitlines()
    assert len(lines) == 23
    assert lines[-2] == "    and 40 more"
    assert max(map(len, lines)) < 160


@pytest.mark.behaviour("B66")
def test_every_part_of_the_config_tree_is_taken_or_left_on_purpose() -> None:
    groups = {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra", "__pycache__"}
    top = {key for key in OmegaConf.load(CONF / "config.yaml") if key not in ("defaults", "hydra")}
    assert groups == set(CHOICES)
    places = {"checkpoint_dir", "pretrained_dir"}
    assert top == {*VALUES, *OF_ONE_START, *places}
    assert places < set(PLACES)


def leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for key, value in node.items() if isinstance(node, dict) else ():
        yield from leaves(value, (*path, str(key)))
    if not isinstance(node, dict):
        yield ".".join(path), node


@pytest.mark.behaviour("B66")
def test_no_key_of_the_config_tree_that_names_code_or_a_place_is_taken() -> None:
    """Told by the value that the tree gives it: a dotted name, or a path that is made of the run's folder."""
    seen = 0
    for group in CHOICES:
        for file in (CONF / group).rglob("*.yaml"):
            for key, value in leaves(OmegaConf.to_container(OmegaConf.load(file))):
                text = str(value)
                dotted = "." in text and text.replace(".", "").replace("_", "").isalpha()
                if dotted or "_dir" in text:
                    seen += 1
                    assert why_not(f"{group}.{key}=x"), f"{file}: {key}"
    assert seen > 50


FRAGMENTS = [
    "schedule", "optimizer", "_target_", "os.system", "${", "}", "oc.env", ":", "HOME", "=", "+", "++", "~", ".",
    ",", "[", "]", "{", "}", "'", "\"", "\\", "/", "..", "lr", "0.1", "hydra", "run", "dir", "@", "-", "--",
    "trainer", "x", "callbacks", "function", "task", "data", "root", "path", "(", ")", "glob", "choice", "1",
    "null", "\x1b",
]  # fmt: skip


def keys_and_texts(key: str, value: Any) -> Iterator[tuple[str, str]]:
    yield "key", key
    for inner, one in value.items() if isinstance(value, dict) else ():
        yield from keys_and_texts(str(inner), one)
    for one in value if isinstance(value, list) else ():
        yield from keys_and_texts(key, one)
    if not isinstance(value, (dict, list)):
        yield "text", str(value)


@pytest.mark.behaviour("B66")
def test_random_words_that_are_taken_say_nothing_but_plain_values() -> None:
    """Read by Hydra itself: no code, no interpolation, no sweep, nothing of Hydra's."""
    parser, draw, taken = OverridesParser.create(), random.Random(0), 0
    for _ in range(1500):
        begin = draw.choice(["optimizer.lr=", "schedule=", "+trainer.x=", "+optimizer.x={a: ", "schedule.", ""])
        word = begin + "".join(draw.choices(FRAGMENTS, k=draw.randint(1, 6))) + ("}" if "{" in begin else "")
        if why_not(word) is None:
            taken += 1
            read = parser.parse_override(word)
            assert not read.is_sweep_override(), word
            assert not read.is_hydra_override(), word
            for what, text in keys_and_texts(read.key_or_group, read.value()):
                bad = r"(.*\.)?(_.*|function|root|path)" if what == "key" else r".*\$\{.*|[/~].*|(.*/)?\.\.(/.*)?"
                assert not re.fullmatch(bad, text, re.DOTALL), word
    assert taken > 100


@pytest.mark.behaviour("B66")
@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("- !!python/object/apply:os.system [touch canary]", "is not a list of settings"),
        ("a: [&a [x, x], &b [*a, *a]]", "is not a list of settings"),
        ("- &a [x, x]\n" + "\n".join(f"- &{n} [*a, *a]" for n in "bcdefgh"), "is not a list of settings"),
        ("- [" * 5000, "is not a list of settings"),
        ("[" * 30000, "is not a list of settings"),
        ("\0\xff", "is not a list of settings"),
        ("- a=\"\\uD800\"", None),
        ("- x=1\n" * 20000, "has more than 65,536 bytes"),
    ],
)  # fmt: skip
def test_a_file_of_settings_that_is_none_is_not_read(content: str, why: str | None, tmp_path: Path) -> None:
    typed = a_run(tmp_path / "run")
    (tmp_path / "run" / ".hydra" / "overrides.yaml").write_text(content, encoding="latin-1")
    arguments, said = with_settings_of_the_run(typed)
    assert arguments == typed
    assert said.isprintable() or "\n" in said
    assert why is None or f"overrides.yaml {why}" in said
    assert not Path("canary").exists()


@pytest.mark.behaviour("B66")
@pytest.mark.parametrize("kind", ["/dev/zero", "fifo", "folder", "link out", "folder out", "loop", "sparse"])
def test_only_a_small_regular_file_of_the_folder_is_read(kind: str, tmp_path: Path) -> None:
    typed, secret = a_run(tmp_path / "run"), tmp_path / "secret"
    file = tmp_path / "run" / ".hydra" / "overrides.yaml"
    secret.mkdir()
    (secret / "overrides.yaml").write_text("- seed=7\n- password=secret\n")
    file.unlink()
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "sparse":
        with file.open("wb") as opened:
            opened.truncate(10 << 30)
    elif kind == "folder out":
        file.parent.rmdir()
        file.parent.symlink_to(secret)
    else:
        file.symlink_to({"link out": secret / "overrides.yaml", "loop": file}.get(kind, Path(kind)))
    arguments, said = with_settings_of_the_run(typed)
    assert arguments == typed
    assert "secret" not in said.replace(str(tmp_path), "")
    assert "and is not read" in said


@pytest.mark.behaviour("B66")
def test_the_names_of_a_sweeps_jobs_are_read_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hidden")
    a_run(tmp_path / "job", "schedule=${oc.env:SECRET}")
    assert _overrides(tmp_path / "job") == ["schedule=${oc.env:SECRET}"]


@pytest.mark.behaviour("B66")
def test_a_hostile_folder_as_a_whole(tmp_path: Path) -> None:
    """`python train.py` as a process: it goes on with what is plain, says what it leaves out, and nothing happens."""
    run, canary, secret = tmp_path / "run", tmp_path / "canary", "do-not-show-me"
    (tmp_path / "rerun.pickle").write_bytes(pickle.dumps(Touches(canary)))
    (tmp_path / "evil").mkdir()
    target = f"_target_: pathlib.Path.touch\n_args_: []\nself: {canary}\n"
    (tmp_path / "evil" / "evil.yaml").write_text(target)
    hostile = [
        f"--experimental-rerun={tmp_path}/rerun.pickle", f"--config-dir={tmp_path}/evil", "schedule=../evil/evil",
        "+callbacks.evil={_target_: os.system, command: touch " + str(canary) + "}", f"output_dir={tmp_path}/elsewhere",
        "task.function=os.system", "seed=${oc.env:LR_RECIPES_SECRET}", f"hydra.run.dir={tmp_path}/elsewhere",
        "+optimizer.x=\x1b[2J",
    ]  # fmt: skip
    typed = a_run(run, "schedule=one_cycle", "optimizer.lr=0.03", *hostile)
    arguments = [ROOT / "train.py", *typed, "task=preview", "trainer=cpu", "resume=config"]
    done = ready.run(arguments, tmp_path, {**os.environ, "LR_RECIPES_SECRET": secret})
    assert done.returncode == 0, done.stderr
    assert not canary.exists()
    assert not (tmp_path / "elsewhere").exists()
    shown = done.stdout + done.stderr
    assert secret not in shown
    assert "\x1b" not in shown
    assert "Going on with the settings of the run: schedule=one_cycle optimizer.lr=0.03\n" in shown
    assert "peak LR 0.03" in shown
    assert "names code" in shown


@pytest.mark.behaviour("B66")
@pytest.mark.parametrize("what", ["train.log", "metrics.csv", ".hydra/config.yaml", "checkpoints", "lr.csv", "fifo"])
def test_a_folder_that_leads_out_is_not_gone_on_in(what: str, tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    (ckpt_path,) = a_run(run)
    outside.mkdir()
    if what == "fifo":
        os.mkfifo(run / "train.log")
    elif what == "checkpoints":
        (run / what).rename(outside / what)
        (run / what).symlink_to(outside / what)
    else:
        (run / what).symlink_to(outside / "bashrc")
    path = ckpt_path.partition("=")[2]
    with pytest.raises(ValueError, match=r"is no file of this folder.*set hydra.run.dir=runs/NAME to go on in another"):
        run_folder(path, "error", "now")
    assert run_folder(path, "config", "now") == "runs/now"
    cfg = OmegaConf.create({"dir": f"${{run_folder:'{path}',error,now}}"})
    with pytest.raises(InterpolationResolutionError) as caught:
        _ = cfg.dir
    assert (explain(caught.value) or "").startswith(str(run))


@pytest.mark.behaviour("B66")
def test_links_within_a_folder_are_gone_on_in(tmp_path: Path) -> None:
    a_run(tmp_path / "real")
    (tmp_path / "real" / "checkpoints" / "best.ckpt").symlink_to("last.ckpt")
    (tmp_path / "latest").symlink_to(tmp_path / "real")
    assert run_folder(str(tmp_path / "latest" / "checkpoints" / "best.ckpt"), "error", "now") == str(
        tmp_path / "latest"
    )


# Checkpoints


@pytest.mark.behaviour("B66")
def test_nothing_of_ours_unpickles() -> None:
    """Every call that loads is told ``weights_only=True``, and no module that unpickles is imported."""
    loads = 0
    for path in [*(ROOT / "lr_recipes").rglob("*.py"), *(ROOT / "recipes").rglob("*.py"), ROOT / "train.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}, path
            if not isinstance(node, ast.Call):
                continue
            name, given = ast.unparse(node.func), {one.arg: ast.unparse(one.value) for one in node.keywords}
            assert name not in ("np.load", "numpy.load", "eval", "exec", "OmegaConf.load"), f"{path}: {name}"
            # A forecast reads it by `read_lightning`, which is one of these calls.
            hands_over = "ckpt_path" in given and name != "forecast"
            if (name.startswith("torch.") and "load" in name.rpartition(".")[2]) or hands_over:
                loads += 1
                assert given.get("weights_only") == "True", f"{path}: {ast.unparse(node)}"
    assert loads >= 5


@pytest.mark.behaviour("B66")
def test_no_code_of_a_checkpoint_is_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "x": Touches(tmp_path / "canary")}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="damaged or not a checkpoint"):
        read_checkpoint(str(tmp_path / "x.ckpt"), "ckpt_path")
    assert not (tmp_path / "canary").exists()


@pytest.mark.behaviour("B66")
def test_a_checkpoint_that_unpacks_to_more_than_it_is_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(5_000_000)}}, tmp_path / "plain.ckpt")
    with (
        zipfile.ZipFile(tmp_path / "plain.ckpt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for one in plain.infolist():
            bomb.writestr(one.filename, plain.read(one))
    assert (tmp_path / "bomb.ckpt").stat().st_size < 100_000
    read_checkpoint(str(tmp_path / "plain.ckpt"), "ckpt_path")
    with pytest.raises(ValueError, match=r"damaged or not a checkpoint \(it unpacks to more than it is\)"):
        read_checkpoint(str(tmp_path / "bomb.ckpt"), "ckpt_path")


@pytest.mark.behaviour("B66")
@pytest.mark.parametrize("kind", ["/dev/zero", "fifo"])
def test_a_checkpoint_is_a_regular_file(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "x.ckpt"
    os.mkfifo(file) if kind == "fifo" else file.symlink_to(kind)
    with pytest.raises(FileNotFoundError):
        read_checkpoint(str(file), "ckpt_path")


def with_paths(**paths: Any) -> dict[str, Any]:
    return {"callbacks": {"ModelCheckpoint{...}": paths, "LearningRateLogger": {"files": {}}}}


@pytest.mark.behaviour("B66")
@pytest.mark.parametrize(
    "paths",
    [
        {"best_model_path": "s3://bucket/all"},
        {"kth_best_model_path": "/run/checkpoints/../../home"},
        {"best_k_models": {"/run/checkpoints/../../home": 1.0}},
        {"last_model_path": "memory://x"},
    ],
)
def test_a_checkpoint_that_would_have_files_removed_is_refused(paths: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="this run might remove it: take only the weights"):
        check_paths(with_paths(**paths), "ckpt_path")


@pytest.mark.behaviour("B66")
def test_own_paths_of_a_checkpoint_are_fine() -> None:
    path = "/run/checkpoints/best.ckpt"
    check_paths(with_paths(best_model_path=path, kth_best_model_path="", best_k_models={path: 1.0}), "ckpt_path")
    check_paths({}, "ckpt_path")


@pytest.mark.behaviour("B66")
def test_the_best_checkpoint_is_one_of_this_run(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path / "run" / "checkpoints", monitor="val_loss")
    trainer = quiet_trainer([callback])
    for folder, found in [("run", True), ("elsewhere", False)]:
        path = tmp_path / folder / "checkpoints" / "best.ckpt"
        path.parent.mkdir(parents=True)
        path.touch()
        callback.best_model_path = str(path)
        assert best_checkpoint(trainer) == (str(path) if found else None)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_plain_lightning_removes_what_a_checkpoint_names(tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.pipe_file("/precious/a/b", b"mine")
    fit(COSINE, max_epochs=1, callbacks=[ModelCheckpoint(tmp_path, filename="x")])
    checkpoint = torch.load(tmp_path / "x.ckpt", weights_only=True)
    (state,) = (one for key, one in checkpoint["callbacks"].items() if "ModelCheckpoint" in key)
    state["best_model_path"] = "memory://precious"
    torch.save(checkpoint, tmp_path / "hostile.ckpt")
    with pytest.raises(ValueError, match="names 'memory://precious' as a file that its run kept"):
        check_paths(checkpoint, "ckpt_path")
    fit(COSINE, options={"resume": "config"}, max_epochs=2, callbacks=[ModelCheckpoint(tmp_path / "new", filename="x")],
        ckpt_path=tmp_path / "hostile.ckpt")  # fmt: skip
    assert not store.exists("/precious/a/b")


# The record that a checkpoint names


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A web server on this machine, and the requests that it has had."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}", asked
    serving.shutdown()
    serving.server_close()


def first_run(folder: Path) -> Path:
    fit(COSINE, max_epochs=2, callbacks=[record_lrs(folder), keep_all(folder, every=4)])
    return folder / "step=4.ckpt"


def naming(checkpoint: Path, address: Any, to: Path) -> Path:
    """The checkpoint, with another address of its record."""
    content = torch.load(checkpoint, weights_only=True)
    (state,) = (one for key, one in content["callbacks"].items() if key.startswith("LearningRateLogger"))
    assert state["files"] == {"SGD": str(checkpoint.parent.resolve() / "lr.csv")}
    state["files"] = {"SGD": address}
    torch.save(content, to)
    return to


def steps_of(file: Path) -> list[str]:
    with file.open(newline="") as opened:
        return [row["step"] for row in csv.DictReader(opened)]


@pytest.mark.behaviour("B71")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize("kind", ["/dev/zero", "/dev/stdin", "fifo", "secret", "link", "name", "http", "chain", "s3"])
def test_only_a_record_is_read_whatever_a_checkpoint_names(
    kind: str, tmp_path: Path, server: tuple[str, list[str]]
) -> None:
    url, asked = server
    secret, first = tmp_path / "id_rsa", first_run(tmp_path / "first")
    secret.write_text("PRIVATE KEY\n")
    link, fifo, name = tmp_path / "lr.csv", tmp_path / "lr-fifo.csv", tmp_path / "notes.csv"
    link.symlink_to(secret)
    os.mkfifo(fifo)
    name.write_bytes((tmp_path / "first" / "lr.csv").read_bytes())
    address = {
        "fifo": str(fifo), "secret": str(secret), "link": str(link), "name": str(name), "http": f"{url}/lr.csv",
        "chain": f"simplecache::{url}/lr.csv", "s3": "s3://bucket/lr.csv",
    }.get(kind, kind)  # fmt: skip
    hostile = naming(first, address, tmp_path / "hostile.ckpt")
    with (
        pytest.warns(UserWarning, match="is not read: copy it to")
        if kind not in ("/dev/zero", "/dev/stdin", "fifo")
        else nullcontext()
    ):
        fit(COSINE, max_epochs=2, callbacks=[record_lrs(tmp_path / "next")], ckpt_path=hostile)
    assert steps_of(tmp_path / "next" / "lr.csv") == [str(n) for n in range(4, 16)]
    assert "PRIVATE" not in (tmp_path / "next" / "lr.csv").read_text()
    assert asked == []


@pytest.mark.behaviour("B71")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_record_in_another_folder_goes_on_as_before(tmp_path: Path) -> None:
    first = first_run(tmp_path / "first")
    fit(COSINE, max_epochs=2, callbacks=[record_lrs(tmp_path / "next")], ckpt_path=first)
    assert (tmp_path / "next" / "lr.csv").read_bytes() == (tmp_path / "first" / "lr.csv").read_bytes()


@pytest.mark.behaviour("B71")
@pytest.mark.parametrize(
    ("folder", "beside", "address", "read"),
    [
        ("memory://bucket/run", None, "memory://bucket/other/lr.csv", True),
        ("memory://bucket/run", None, "memory://elsewhere/lr.csv", False),
        ("memory://bucket/run", "memory://third/x.ckpt", "memory://third/lr.csv", True),
        ("here", "memory://third/x.ckpt", "memory://third/lr.csv", True),
        ("here", None, "memory://third/lr.csv", False),
        ("memory://bucket/run", None, "memory://bucket/lr.csv::memory://elsewhere/lr.csv", False),
        ("memory://bucket/run", None, "memory://me@bucket/other/lr.csv", False),
    ],
)
def test_a_store_is_asked_only_where_the_run_uses_it(
    folder: str, beside: str | None, address: str, read: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = fsspec.filesystem("memory")
    for place in ("bucket/other", "elsewhere", "third"):
        store.pipe_file(f"/{place}/lr.csv", b"step,epoch,samples,phase,planned_factor,lr/group0\n")
    told: list[str] = []
    with Folder(folder, told.append) as one:
        found = one.earlier(address, "lr.csv", beside)
        assert (found is not None and found.read_bytes().startswith(b"step,")) is read
    store.store.clear()
    assert len(told) == (not read)
    assert all("copy it to" in sentence for sentence in told)


# What is shown, and where it is filed


@pytest.mark.behaviour("B71")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"a{ESCAPES}b", r"a\x1b[2J\x1b]0;title\x07b"),
        ("two\nlines é 漢字 🙂", "two\nlines é 漢字 🙂"),
        ("a\rb\x9bc\x7f", r"a\rb\x9bc\x7f"),
        ("\u202edecoy\u2066 \u2028\ud800\U000e0041", r"\u202edecoy\u2066 \u2028\ud800\U000e0041"),
    ],
)
def test_control_characters_are_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert one_line(text) == shown.replace("\n", r"\n")


@pytest.mark.behaviour("B71")
def test_all_that_callbacks_tell_and_warn_is_visible(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    trainer = quiet_trainer([])
    tell(trainer, f"of a checkpoint: {ESCAPES}\nand below")
    assert messages(caplog).endswith(r"of a checkpoint: \x1b[2J\x1b]0;title\x07" + "\nand below")
    with pytest.warns(UserWarning, match=r"^\\x1b\[2J"):
        warn(trainer, ESCAPES)


@pytest.mark.behaviour("B71")
def test_a_group_named_like_a_line_of_ours_is_shown_as_a_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    names = [f"decay{ESCAPES}", "x\nLearning rate: used = planned on 99 of 99 updates"]

    def build(weights: list[Any]) -> Any:
        return SGD([{"params": [one], "name": name} for one, name in zip(weights, names, strict=True)], lr=PEAK)

    fit(COSINE, module=Tiny(build), max_epochs=1, callbacks=[record_lrs(tmp_path)])
    assert messages(caplog).replace("\n", "").isprintable()
    lines = messages(caplog).splitlines()
    assert [line for line in lines if line.startswith("Learning rate:")] == [
        "Learning rate: used = planned on 8 of 8 updates, schedule complete"
    ]
    assert r"  group x\nLearning rate: used = planned on 99 of 99 updates  peak LR 0.1, floor 0" in lines


@pytest.mark.behaviour("B71")
def test_names_in_a_checkpoint_are_shown_as_names() -> None:
    name = f"g\n{ESCAPES}"
    audit = Audit(late={name: 3}, left={name: 4}, different=1, worst_group=name, compared=2)
    assert audit.closing_line(4, 4).isprintable()
    plan = COSINE.plan(Horizon(total_steps=8, source=name), [PEAK])
    (first, *_) = in_words(plan, name, [name], [name]).splitlines()
    assert first.startswith("Learning-rate plan for g\\n")
    assert first.endswith(r"]0;title\x07)")
    saved = {**plan.state(), "position": 4}
    saved["schedule"] = {**saved["schedule"], "warmup_type": f"linear{ESCAPES}", f"knob{ESCAPES}": 1}
    with pytest.raises(ResumeError) as caught:
        choose(saved, plan, "error")
    assert str(caught.value).replace("\n", "").isprintable()
    with pytest.raises(ResumeError) as caught:
        check_optimizers([name], ["SGD"])
    assert str(caught.value).isprintable()
    with pytest.raises(ValueError, match="cannot be built from a checkpoint") as error:
        schedules.TorchSchedule.from_fields({"factory": {"calls": name, "args": [], "kwargs": {}}})
    assert str(error.value).isprintable()
    with pytest.raises(ValueError, match="another model") as error:
        check_weights({"state_dict": {name: torch.ones(1)}}, torch.nn.Linear(1, 1), "weights")
    assert str(error.value).isprintable()


@pytest.mark.behaviour("B71")
def test_what_a_program_prints_of_a_mistake_is_visible() -> None:
    assert explain(ValueError(f"a{ESCAPES}")) == r"a\x1b[2J\x1b]0;title\x07"
    record = logging.LogRecord("name", logging.INFO, "path", 1, f"a{ESCAPES}\nb", None, None)
    assert Visible("%(message)s").format(record) == r"a\x1b[2J\x1b]0;title\x07" + "\nb"
    settings = OmegaConf.to_container(OmegaConf.load(CONF / "hydra" / "job_logging" / "plain.yaml"))
    assert {one["class"] for one in settings["formatters"].values()} == {"recipes.app.run_folder.Visible"}


@pytest.mark.behaviour("B71")
def test_what_lr_recipes_prints_is_visible(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview", f"schedule={ESCAPES}", "total_steps=10"])
    assert capsys.readouterr().err.rstrip("\n").isprintable()


@pytest.mark.behaviour("B71")
def test_results_of_runs_are_lines_of_a_regular_file(tmp_path: Path) -> None:
    told: list[str] = []
    store = Store(tmp_path, lambda row, schedule: {}, told.append)
    os.mkfifo(tmp_path / "pipe.csv")
    assert store.load("pipe") == {}
    values = [f"row{ESCAPES}", "step", "0.1", "1", "done", *["0.5"] * 6, "10", "1", "1", *["x"] * 7]
    (tmp_path / "row.csv").write_text(",".join(values) + "\n")
    assert store.load("row") == {}
    (line,) = told
    assert "of another row (row" in line
    assert line.isprintable()


def optimizers_of(*names: str) -> list[Any]:
    return [type(name, (SGD,), {})([torch.nn.Parameter(torch.ones(1))], lr=PEAK) for name in names]


@pytest.mark.behaviour("B71")
@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (["SGD", "SGD", "SGD"], ["SGD", "SGD-1", "SGD-2"]),
        (["../../x", "/etc/x", "..", ""], ["_.____x".replace("____", "_.._"), "_etc_x", "_.", "optimizer"]),
        (["a/b", "a:b", "a b"], ["a_b", "a_b-1", "a_b-2"]),
        (["A", "A", "A-1"], ["A", "A-1", "A-1-1"]),
        (["A-1", "A", "A"], ["A-1", "A", "A-2"]),
        (["Adam", "adam"], ["Adam", "adam-1"]),
        (["Größe", f"a{ESCAPES}"], ["Größe", "a__2J__0_title_"]),
        (["ü" * 200], ["ü" * 75]),
    ],
)
def test_optimizers_have_names_that_are_one_part_of_a_path_each(classes: list[str], names: list[str]) -> None:
    assert optimizer_names(optimizers_of(*classes)) == names


@pytest.mark.behaviour("B71")
def test_an_optimizer_named_after_a_path_is_filed_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"

    class Two(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch))
                optimizer.step()

        def configure_optimizers(self) -> Any:
            kinds = [type(name, (SGD,), {}) for name in ("../../x", "/tmp/y")]
            return [kind([weight], lr=PEAK) for kind, weight in zip(kinds, self.weights, strict=True)]

    fit(COSINE, module=Two(), max_epochs=1, options={"total_steps": 8}, callbacks=[LearningRateLogger(folder)])
    assert {path.name for path in folder.iterdir()} == {
        f"lr-{name}.{kind}" for name in ("_._.._x", "_tmp_y") for kind in ("csv", "png")
    }
    assert list(tmp_path.rglob("*.csv")) == list(folder.glob("*.csv"))


# metrics.csv


@pytest.mark.parametrize("content", ["", "no columns\n", "step", "a,b\n1,2\n", "step\0\n"])
def test_a_metrics_file_that_is_none_is_not_continued(content: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(content)
    one = AppendingCSVLogger(tmp_path, name="", version="")
    if not content:  # the run was killed before it wrote any
        one.log_metrics({"loss": 0.5}, step=0)
        one.save()
        assert steps_of(tmp_path / "metrics.csv") == ["0"]
        return
    with pytest.raises(ValueError, match=r"cannot be continued.*: move it away, or set logger=none"):
        _ = one.experiment


def test_a_metrics_file_of_any_size_takes_no_memory(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    with file.open("wb") as opened:
        opened.truncate(10 << 30)  # ten gigabytes in one line
    with pytest.raises(ValueError, match="cannot be continued"):
        _ = AppendingCSVLogger(tmp_path, name="", version="").experiment
    file.write_bytes(b"loss,step\r\n0.5,0\r\n" + b"7" * 40_000_000 + b"\r\n1,2,3\r\n0.25,1\r\n")
    one = AppendingCSVLogger(tmp_path, name="", version="")
    one.log_metrics({"acc": 1.0}, step=2)
    tracemalloc.start()
    one.save()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 15_000_000
    with file.open(newline="") as opened:
        assert [(row["step"], row["loss"], row["acc"]) for row in csv.DictReader(opened)] == [
            ("0", "0.5", ""), ("1", "0.25", ""), ("2", "", "1.0"),
        ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


@pytest.mark.filterwarnings("ignore:Experiment logs directory")
def test_plain_lightning_deletes_the_metrics_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step\r\n0\r\n")
    _ = CSVLogger(tmp_path, name="", version="").experiment
    assert not (tmp_path / "metrics.csv").exists()


# What Hydra and Lightning do in the same case


@pytest.mark.filterwarnings("ignore:Experimental rerun")
def test_plain_hydra_runs_the_code_of_a_pickle(tmp_path: Path) -> None:
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(Touches(tmp_path / "canary")))
    with pytest.raises(AttributeError):
        _get_rerun_conf(str(tmp_path / "config.pickle"), [])
    assert (tmp_path / "canary").exists()


def test_plain_hydra_takes_code_and_the_environment_from_an_override(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hidden")
    torch.save(Touches(tmp_path / "canary"), tmp_path / "x.ckpt")
    words = [
        f"+optimizer.x={{_target_: torch.load, f: {tmp_path}/x.ckpt, weights_only: false}}",
        "+optimizer.y={_target_: os.system, command: id}",
        "trainer.profiler=${oc.env:SECRET}",
    ]
    cfg: DictConfig = config.composed("output_dir=unused", *words)
    assert cfg.trainer.profiler == "hidden"
    instantiate(cfg.optimizer.x)
    assert (tmp_path / "canary").exists()
    with pytest.raises(InstantiationException, match="is blocklisted"):  # since hydra-core 1.3.8
        instantiate(cfg.optimizer.y)
    assert get_method("os.system") is os.system
    assert all(why_not(word) for word in words)


def test_plain_omegaconf_looks_up_what_a_list_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hidden")
    assert list(OmegaConf.create("- schedule=${oc.env:SECRET}")) == ["schedule=hidden"]


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_plain_torch_and_lightning_on_code_in_a_checkpoint(tmp_path: Path) -> None:
    fit(None, module=Tiny(sgd), max_epochs=1, callbacks=[ModelCheckpoint(tmp_path, filename="x")])
    checkpoint = torch.load(tmp_path / "x.ckpt", weights_only=True)
    torch.save({**checkpoint, "more": Touches(tmp_path / "canary")}, tmp_path / "x.ckpt")
    for weights_only, runs in [(None, False), (True, False), (False, True)]:
        trainer = quiet_trainer([], max_epochs=2)
        with nullcontext() if runs else pytest.raises(Exception, match="Weights only load failed"):
            trainer.fit(Tiny(sgd), loader(), ckpt_path=tmp_path / "x.ckpt", weights_only=weights_only)
        assert (tmp_path / "canary").exists() is runs
