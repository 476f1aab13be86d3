from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import OmegaConf

from lr_recipes.plan.resume import Undecided
from recipes.app.config import composed
from recipes.app.messages import _OTHER_WORDS, explain
from recipes.app.training import check_device
from recipes.app.validation import check, task_of

MISSING = object()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["schedule=cosin"], r"schedule=cosin is unknown \(did you mean 'cosine'\?\); choose one of by_group, .*step"),
        (["recipe=transfomer"], r"recipe=transfomer is unknown \(did you mean 'transformer' or 'transformer_code'\?"),
        (["callbacks=[learning_rate_loger]"], r"callbacks=learning_rate_loger is unknown \(did you mean 'learni"),
        (["schedule.warmpu=3"], r"schedule has no 'warmpu' \(did you mean 'warmup'\?\); it has warmup, warmup_type"),
        (["schedule=fixed", "schedule.min_lr=1"], r"schedule has no 'min_lr'; it has warmup"),
        (["trainer.max_epoch=3"], r"trainer has no 'max_epoch' \(did you mean 'max_epochs' or 'min_epochs'\?\)"),
        (["trainer.max_epochs.x=3"], r"trainer.max_epochs is a value and has no 'x'"),
        (["schedule=by_group", "schedule.groups.head=linear"], r".*add one with \+schedule\.groups\.head=linear"),
        (["schedul=cosine"], r"the config has no 'schedul' \(did you mean 'schedule'\?\); it has .*recipe"),
        (["schedul.warmup=3"], r"the config has no 'schedul' \(did you mean 'schedule'\?\)"),
        (["lr=0.1"], r"the config has no 'lr' \(did you mean optimizer\.lr=0\.1\?\); it has batch_scaling, "),
        (["warmup=5 epochs"], r"the config has no 'warmup' \(did you mean 'schedule\.warmup=5 epochs'\?\)"),
        (["epochs=3"], r"the config has no 'epochs' \(did you mean trainer\.max_epochs=3\?\)"),
        (["max_epochs=3"], r"the config has no 'max_epochs' \(did you mean trainer\.max_epochs=3\?\)"),
        (["batch_size=8"], r"the config has no 'batch_size' \(did you mean data\.batch_size=8\?\)"),
        (["batchsize=8"], r"the config has no 'batchsize' \(did you mean data\.batch_size=8\?\)"),
        (["weight_decay=0"], r"the config has no 'weight_decay' \(did you mean optimizer\.weight_decay=0\?\)"),
        (["device=cuda"], r"the config has no 'device' \(did you mean trainer\.accelerator=cuda\?\)"),
        (["gpus=2"], r"the config has no 'gpus' \(did you mean trainer=gpu trainer\.devices=2\?\)"),
        (["monitor=acc"], r"the config has no 'monitor' \(did you mean callbacks\.best_checkpoint\.monitor=acc or "),
        (["patience=3"], r"the config has no 'patience'; it has"),
        (["patience=3", "schedule=plateau"], r"the config has no 'patience' \(did you mean schedule\.patience=3\?\)"),
        (["warmup"], r"'warmup' cannot be read: write key=value"),
        (["schedule.warmup=[1"], r"'schedule.warmup=\[1' cannot be read: write key=value"),
        (["schedule.warmup=1,2"], r"Ambiguous value for argument 'schedule.warmup=1,2' 1\. To use it as a list"),
        (["~nothing"], r"Could not delete from config. 'nothing' does not exist\."),
    ],
)  # fmt: skip
def test_a_mistake_on_the_command_line_names_what_is_possible(overrides: list[str], message: str) -> None:
    with pytest.raises(HydraException) as caught:
        composed(*overrides)
    assert re.match(message, explain(caught.value) or "")
    assert "\n" not in (explain(caught.value) or "")


def fail(kind: type[Exception]) -> None:
    raise kind("the reason")


@pytest.mark.parametrize(
    ("kind", "message"), [(ValueError, "the reason"), (TypeError, "TypeError: the reason"), (OSError, "the reason")]
)
def test_a_mistake_found_while_building_carries_the_name_of_its_node(kind: type[Exception], message: str) -> None:
    cfg: Any = OmegaConf.create({"optimizer": {"_target_": f"{__name__}.fail", "kind": "${kind}"}})
    cfg.optimizer.kind = {"_target_": "hydra.utils.get_class", "path": f"builtins.{kind.__name__}"}
    with pytest.raises(HydraException) as caught:
        instantiate(cfg.optimizer)
    assert explain(caught.value) == f"optimizer: {message}"


def test_a_folder_that_cannot_be_made_names_the_way_out() -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        Path("/proc/x/y").mkdir()
    message = explain(caught.value) or ""
    assert message.startswith("/proc/x/y cannot be used (No such file or directory)")
    assert "output_dir" in message


def test_the_log_files_own_reason_is_shown() -> None:
    error = ValueError("Unable to configure handler 'file'")
    error.__cause__ = PermissionError(13, "Permission denied", "run/train.log")
    assert (explain(error) or "").startswith("run/train.log cannot be used (Permission denied)")


def test_lightnings_refusals_are_mistakes_and_other_errors_are_not() -> None:
    assert explain(MisconfigurationException("no such accelerator")) == "no such accelerator"
    for error in (RuntimeError("out of memory"), KeyError("x"), ZeroDivisionError(), AssertionError()):
        assert explain(error) is None


@pytest.mark.parametrize("name", sorted(_OTHER_WORDS))
def test_what_other_programs_call_it_is_answered_with_what_is_typed_here(name: str) -> None:
    """With a setting that this config has."""
    with pytest.raises(HydraException) as caught:
        composed(f"{name}=3")
    said = re.search(r"\(did you mean (.*)\?\)", explain(caught.value) or "")
    assert said is not None
    for setting in said[1].split():
        key = setting.partition("=")[0]
        assert OmegaConf.select(composed("output_dir=unused"), key, default=MISSING) is not MISSING


def test_a_refused_resume_ends_with_the_command_that_goes_on() -> None:
    error = Undecided("this and that differ", "LearningRateScheduler(..., resume='checkpoint')")
    typed = ["ckpt_path=my run/last.ckpt", "resume=error", "trainer.max_epochs=3"]
    last = "python train.py 'ckpt_path=my run/last.ckpt' trainer.max_epochs=3 resume=checkpoint"
    assert explain(error, typed) == f"this and that differ. For the first:\n    {last}"
    assert explain(error) == str(error)


def test_an_added_setting_that_nothing_takes_is_answered_too() -> None:
    with pytest.raises(
        ValueError, match=r"^the config has no 'lr' \(did you mean optimizer\.lr=0\.1\?\); it has seed,"
    ):
        check(composed("output_dir=unused", "+lr=0.1"))


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("overrides", [["trainer=gpu"], ["trainer.accelerator=cuda", "task=range_test"]])
def test_a_gpu_that_is_not_there_is_answered_with_what_to_write(overrides: list[str]) -> None:
    cfg = composed("output_dir=unused", *overrides)
    with pytest.raises(
        ValueError, match=r"^trainer\.accelerator='\w+': torch .* finds no such device.*: write trainer=cpu"
    ):
        task_of(cfg)(cfg)
    check_device(composed("output_dir=unused", "trainer=cpu").trainer)
