from __future__ import annotations

import random

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from recipes.app.config import in_one_folder, readable
from recipes.app.quoting import quoted, unquoted

SIGNS = "ab1 /\\\"'`(){}[]<>$,=:;.é日~!@#%^&*|+-_?\t\n"
PATHS = [
    "/home/me/my run's/last.ckpt", "/tmp/été (1)", "a=b.ckpt", "epoch=3-step=100.ckpt", "a,b", "[1]", "{a}", "日本語/x",
    "3", "1e5", "true", "~/x", "C:\\my runs\\x", "$HOME/x", "it's \"quoted\"", "'tis", "a: b", "#1", "50%", "x\\",
    "a  b",
]  # fmt: skip


def value_of(argument: str) -> object:
    return OverridesParser.create().parse_override(argument).value()


@pytest.mark.behaviour("B73")
@pytest.mark.parametrize("key", ["ckpt_path", "weights", "output_dir", "data.path", "+callbacks.x.dirpath"])
@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_typed_as_it_is(key: str, path: str) -> None:
    (argument,) = readable([f"{key}={path}"])
    assert value_of(argument) == path
    assert readable([argument]) == [argument]
    assert unquoted(argument.partition("=")[2]) == path


@pytest.mark.behaviour("B73")
def test_any_text_in_quotes_is_that_text() -> None:
    rng = random.Random(1)
    for _ in range(500):
        text = "".join(rng.choice(SIGNS) for _ in range(rng.randint(0, 12)))
        assert value_of(f"key={quoted(text)}") == text


@pytest.mark.parametrize(
    "argument",
    [
        "seed=3", "schedule.warmup=5 epochs", "schedule.milestones=[50%,75%]", "trainer.devices=[0,1]",
        "optimizer.lr=1e-3",
        "ckpt_path=runs/1/checkpoints/last.ckpt", "ckpt_path=null", "ckpt_path='a b'", 'weights="a, b"',
        "output_dir=${seed}", "ckpt_path=", "~logger", "--cfg", "callbacks=[learning_rate_logger,checkpoint]",
        "model=cnn", "pretraining=[a]",
    ],
)  # fmt: skip
def test_what_hydra_reads_as_it_is_meant_stays(argument: str) -> None:
    assert readable([argument]) == [argument]


@pytest.mark.parametrize(
    ("argument", "read"),
    [
        ("schedule.warmup=5 épochs", 'schedule.warmup="5 épochs"'),
        ("schedule.milestones=[1", 'schedule.milestones="[1"'),
        ("model=[1,2]", 'model="[1,2]"'),
        ("optimizer=[0.1]", 'optimizer="[0.1]"'),
        ("recipe=null", 'recipe="null"'),
        ("schedule=3", 'schedule="3"'),
        ("seed=" + "9" * 5000, 'seed="' + "9" * 5000 + '"'),
        ("seed=" + "[" * 2000, 'seed="' + "[" * 2000 + '"'),
    ],
)
def test_what_hydra_cannot_read_becomes_text_which_is_refused_by_name(argument: str, read: str) -> None:
    assert readable([argument]) == [read]


def test_in_a_sweep_commas_stand_between_paths() -> None:
    assert readable(["ckpt_path=a.ckpt,b.ckpt", "-m"]) == ["-m", "ckpt_path=a.ckpt,b.ckpt"]
    assert readable(["ckpt_path=a.ckpt,b.ckpt"]) == ['ckpt_path="a.ckpt,b.ckpt"']
    assert readable(["weights=my run's.ckpt", "-m"]) == ["-m", 'weights="my run\'s.ckpt"']


def test_what_cannot_be_written_down_is_refused() -> None:
    with pytest.raises(ValueError, match="no UTF-8"):
        readable(["output_dir=\udcff"])


@pytest.mark.behaviour("B73")
@pytest.mark.parametrize(
    ("typed", "given"),
    [
        (["output_dir=x", "seed=1"], ["hydra.run.dir=x", "seed=1"]),
        (["++output_dir='a b'"], ["hydra.run.dir='a b'"]),
        (["-m", "output_dir=x", "seed=1,2"], ["-m", "hydra.sweep.dir=x", "seed=1,2"]),
        (["output_dir=${hydra:runtime.output_dir}/x"], ["output_dir=${hydra:runtime.output_dir}/x"]),
        (["checkpoint_dir=x"], ["checkpoint_dir=x"]),
    ],
)
def test_the_folder_of_a_run_is_hydras(typed: list[str], given: list[str]) -> None:
    assert in_one_folder(typed) == given


@pytest.mark.behaviour("B73")
@pytest.mark.parametrize("argument", ["output_dir=", "output_dir=null", "output_dir=' '", "hydra.run.dir=null"])
def test_a_folder_that_is_none_is_refused(argument: str) -> None:
    with pytest.raises(ValueError, match="must be a folder; leave it out"):
        in_one_folder([argument])
