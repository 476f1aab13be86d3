"""The run before the run: made once, the same for every seed, whole or not there."""

from __future__ import annotations

import logging
import os
import re
import signal
import time
from pathlib import Path

import pytest
import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig

from recipes.app import config
from recipes.app.messages import explain
from recipes.app.pretraining import config_of, interrupted, name_of, pretrained
from recipes.app.preview import previews_of
from recipes.app.training import build, load_weights, run
from tests.ready import Program

ROOT = Path(__file__).parents[3]
SHORT = ["data=glyphs", "data.size=16", "data.characters=letters", "data.num_classes=26", "data.train_size=256",
         "data.val_size=26", "trainer.max_epochs=1", "trainer.enable_progress_bar=false"]  # fmt: skip
QUICK = [
    "recipe=fine_tuning", "trainer=cpu", "model.width=4", "trainer.max_epochs=1", "trainer.num_sanity_val_steps=0",
    "trainer.enable_progress_bar=false", "trainer.enable_model_summary=false", "callbacks=[learning_rate_scheduler]",
    "logger=none",
]  # fmt: skip


def listed(*settings: str) -> str:
    quoted = ",".join(f'"{one}"' for one in settings)
    return f"pretraining=[{quoted}]" if settings else "pretraining=null"


def composed(folder: Path, *overrides: str, short: bool = True) -> DictConfig:
    own = [f"output_dir={folder}/run", f"pretrained_dir={folder}/pretrained", *([listed(*SHORT)] if short else [])]
    return config.composed(*QUICK, *own, *overrides)


def name(cfg: DictConfig) -> str:
    return name_of(config_of(cfg), "data")


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "pretrained").glob("*.ckpt"))


def test_it_is_made_once_and_a_run_is_the_same_whether_or_not_it_came_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        first = run(composed(tmp_path))
        (made,) = kept(tmp_path)
        written = made.stat().st_mtime_ns
        again, other = run(composed(tmp_path)), run(composed(tmp_path, "seed=2", "optimizer.lr=0.001"))
    assert first == again != other
    assert [path.stat().st_mtime_ns for path in kept(tmp_path)] == [written]
    starts = [" ".join(message.split()[:2]) for message in caplog.messages if message.startswith("Pretrain")]
    assert starts == ["Pretraining, once:", "Pretrained in", "Pretrained weights:", "Pretrained weights:"]


def test_the_backbone_is_taken_and_the_head_is_new(tmp_path: Path) -> None:
    cfg = composed(tmp_path)
    torch.manual_seed(0)
    state, fresh = build(cfg).model.state_dict(), build(composed(tmp_path, listed())).model.state_dict()
    there = torch.load(kept(tmp_path)[0], weights_only=True)["state_dict"]
    assert there["network.7.weight"].shape == (26, 16)
    assert torch.equal(state["network.7.weight"], fresh["network.7.weight"])
    backbone = [key for key in state if not key.startswith("network.7")]
    assert all(torch.equal(state[key], there[key]) for key in backbone)
    assert not all(torch.equal(state[key], fresh[key]) for key in backbone)


@pytest.mark.parametrize(
    ("overrides", "same"),
    [
        (["seed=7", "trainer.max_epochs=9", "optimizer.lr=1", "schedule=step", "data.train_size=100"], True),
        (["trainer.devices=2", "trainer.enable_progress_bar=true", "callbacks=none"], True),
        (["model.head_lr_ratio=3", "model.layer_decay=0.5"], True),
        (["model.width=5"], False),
        (["trainer.accelerator=gpu"], False),
        ([listed(*SHORT, "seed=2")], False),
        ([listed(*SHORT, "optimizer.lr=0.1")], False),
        ([listed(*SHORT, "schedule=fixed")], False),
        ([listed(*SHORT, "data.label_noise=0.1")], False),
    ],
)
def test_it_has_another_name_only_if_its_weights_would_differ(overrides: list[str], same: bool, tmp_path: Path) -> None:
    assert (name(composed(tmp_path, *overrides)) == name(composed(tmp_path))) is same
    assert name_of(config_of(composed(tmp_path)), "other data") != name(composed(tmp_path))


def test_the_recipes_have_one_and_own_weights_take_its_place(tmp_path: Path) -> None:
    for recipe in ("fine_tuning", "fine_tuning_text"):
        cfg = config.composed(f"recipe={recipe}", "output_dir=unused")
        first = config_of(cfg)
        sizes = {key: value for key, value in cfg.model.items() if key != "head_lr_ratio"}
        assert {key: first.model[key] for key in sizes} == sizes
        assert first.data._target_ != cfg.data._target_
        previews_of(first)  # its plan can be resolved
    torch.save({"state_dict": {}}, tmp_path / "own.ckpt")
    with pytest.raises(ValueError, match=r"weights='.*own.ckpt' was made by another model"):
        build(composed(tmp_path, f"weights={tmp_path}/own.ckpt"))
    assert kept(tmp_path) == []


def test_a_preview_makes_none(tmp_path: Path) -> None:
    previews_of(composed(tmp_path))
    assert not (tmp_path / "pretrained").exists()


@pytest.mark.parametrize("keep", [0, 1000])
def test_a_damaged_one_is_made_anew(keep: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = pretrained(composed(tmp_path))
    whole = torch.load(path, weights_only=True)["state_dict"]
    path.write_bytes(path.read_bytes()[:keep])
    assert pretrained(composed(tmp_path)) == path
    assert any(message.endswith("is damaged and will be trained again") for message in caplog.messages)
    again = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(again[key], whole[key]) for key in whole)


def test_only_a_whole_file_gets_the_name(tmp_path: Path) -> None:
    first = config_of(composed(tmp_path))
    path = tmp_path / "pretrained" / f"{name_of(first, instantiate(first.data).data_hash)}.ckpt"
    path.with_suffix(".partial").mkdir(parents=True)  # so that writing fails
    with pytest.raises(OSError, match="partial"):
        pretrained(composed(tmp_path))
    assert kept(tmp_path) == []


def test_a_mistake_in_the_list_is_explained(tmp_path: Path) -> None:
    mistakes = {
        "data=glyph": "data=glyph is unknown",
        "optimizer.lr=-1": "must be above 0",
        "+data.sise=8": "no 'sise'",
    }
    for setting, message in mistakes.items():
        with pytest.raises((ValueError, HydraException)) as caught:
            run(composed(tmp_path, listed(setting)))
        assert message in str(explain(caught.value))
    assert kept(tmp_path) == []


# Processes

PROGRAM = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
from recipes.app.config import composed
from recipes.app.pretraining import pretrained
pretrained(composed(*sys.argv[1:]))
"""


def started(folder: Path, *settings: str) -> Program:
    own = [f"pretrained_dir={folder}/pretrained", "output_dir=unused", listed(*SHORT, *settings)]
    program = folder / "program.py"
    program.write_text(PROGRAM)
    return Program([program, *QUICK, *own], ROOT, {**os.environ, "PYTHONPATH": str(ROOT)})


def test_of_two_that_start_at_once_one_makes_it_and_both_use_it(tmp_path: Path) -> None:
    both = [started(tmp_path, "trainer.max_epochs=20") for _ in range(2)]
    done = [process.wait(timeout=120) for process in both]
    assert [one.returncode for one in done] == [0, 0], done
    assert sum(one.stdout.count("Pretraining, once") for one in done) == 1
    assert [path.suffix for path in sorted((tmp_path / "pretrained").iterdir())] == [".ckpt", ".lock"]


def test_one_that_is_killed_goes_on_where_it_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And comes to the very weights of one that nobody killed."""
    settings = [*SHORT, "data.train_size=512", "trainer.max_epochs=30"]
    process = started(tmp_path, *settings)
    waited = time.monotonic()
    while not list((tmp_path / "pretrained").glob("*.so_far")):
        assert process.poll() is None
        assert time.monotonic() - waited < 120
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)  # it has the lock
    assert process.wait().stdout.count("Pretrained in") == 0
    assert kept(tmp_path) == []  # nothing that could be taken for whole
    with caplog.at_level(logging.INFO):
        path = pretrained(composed(tmp_path, listed(*settings)))
    said = "\n".join(caplog.messages)
    assert "It goes on where it was interrupted" in said
    assert re.search(r"resumed at update \d+", said)
    assert re.search(r"Pretraining takes about \d+ s: \d+ more updates", said)
    assert {one.suffix for one in path.parent.iterdir()} == {".ckpt", ".lock"}
    whole = pretrained(composed(tmp_path / "other", listed(*settings)))
    weights, others = (torch.load(one, weights_only=True)["state_dict"] for one in (path, whole))
    assert all(torch.equal(weights[key], others[key]) for key in others)


def test_one_that_is_interrupted_says_how_it_goes_on(tmp_path: Path) -> None:
    so_far = tmp_path / "one.so_far"
    assert str(interrupted(so_far)).endswith("the same command begins it anew.")
    so_far.touch()
    assert str(interrupted(so_far)).endswith("the same command goes on with it where its last epoch ended.")


def test_a_damaged_state_of_one_that_was_killed_is_no_matter(tmp_path: Path) -> None:
    first = config_of(composed(tmp_path))
    path = tmp_path / "pretrained" / f"{name_of(first, instantiate(first.data).data_hash)}.so_far"
    path.parent.mkdir()
    path.write_bytes(b"cut off")
    assert pretrained(composed(tmp_path)) == path.with_suffix(".ckpt")
    assert not path.exists()


def test_weights_and_pretraining_are_read_for_a_range_test_too(tmp_path: Path) -> None:
    cfg = composed(tmp_path)
    model = build(composed(tmp_path, listed())).model
    before = torch.get_rng_state(), os.environ["PL_GLOBAL_SEED"]
    load_weights(cfg, model)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert os.environ["PL_GLOBAL_SEED"] == before[1]
    there = torch.load(kept(tmp_path)[0], weights_only=True)["state_dict"]
    assert torch.equal(model.state_dict()["network.0.0.weight"], there["network.0.0.weight"])
