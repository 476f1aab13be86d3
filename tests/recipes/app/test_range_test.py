"""`python train.py task=range_test`, by the function behind it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from lr_recipes.sweep.result import RULES, RangeTest, Sweep
from recipes.app import config
from recipes.app.range_test import run, settings_of, what_next

SMALL = ("trainer=cpu", "trainer.enable_progress_bar=false", "model.width=4", "optimizer.weight_decay=0")


def composed(folder: Path, *overrides: str) -> DictConfig:
    return config.composed("task=range_test", f"output_dir={folder}", *SMALL, *overrides)


def test_it_writes_its_files_and_returns_what_it_suggests(tmp_path: Path, caplog: Any) -> None:
    with caplog.at_level("INFO"):
        metrics = run(composed(tmp_path, "task.rule=valley"))
    found = json.loads((tmp_path / "range_test.json").read_text())
    assert metrics == {"suggested_lr": found["suggestions"]["valley"]}
    assert {path.name for path in tmp_path.iterdir()} >= {"range_test.csv", "range_test.png", "range_test.json"}
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "LR range test: " in said
    assert f"Next:  python train.py optimizer.lr={metrics['suggested_lr']:g}" in said


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.rule=valey", r"task.rule='valey' \(did you mean 'valley'\?\): must be one of steepest"),
        (
            "ckpt_path=last.ckpt",
            r"ckpt_path='last.ckpt' goes on with a run, which a range test cannot do: give weights=last.ckpt",
        ),
        ("task.num_training_steps=3", r"num_training_steps=3: .* at least 10"),
        ("task.min_lr=100", r"min_lr=100 must be below max_lr=10"),
        ("task.optimizer=Adam", r"optimizer names the optimizer 'Adam', and the module has 0 or 'AdamW'"),
    ],
)
def test_mistakes_are_explained(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        run(composed(tmp_path, override))
    assert not (tmp_path / "range_test.json").exists()


def test_the_task_lists_every_setting_of_the_function() -> None:
    task = composed(Path("unused")).task
    rule, settings = settings_of(composed(Path("unused")))
    assert set(task) == {"function", "objective", "rule", *settings}
    assert rule in RULES
    assert Sweep(**{key: settings[key] for key in ("min_lr", "max_lr", "num_training_steps", "mode")}) == Sweep()


def test_the_command_to_run_next_keeps_what_was_typed_but_for_the_range_test(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = [2 - 1 / (1 + (3e-3 / Sweep().lr(n)) ** 2) for n in range(90)]
    typed = ["recipe=classical_cnn", "task=range_test", "task.max_lr=1", "optimizer.lr=0.1", "+trainer.x='a b'"]

    class Config:
        """What Hydra knows of the command line; it is set up by a whole program only."""

        @staticmethod
        def initialized() -> bool:
            return True

        @staticmethod
        def get() -> Any:
            return DictConfig({"overrides": {"task": typed}})

    monkeypatch.setattr("recipes.app.range_test.HydraConfig", Config)
    test = RangeTest(Sweep(), losses)
    assert what_next(test, "edge") == (
        f"""Next:  python train.py recipe=classical_cnn '+trainer.x='"'"'a b'"'"'' optimizer.lr={test.suggestion:g}"""
    )
    assert what_next(RangeTest(Sweep(), [1.0] * 100), "edge").startswith("Nothing to train with yet")
