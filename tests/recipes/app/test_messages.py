from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import HydraException
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import OmegaConf

from recipes.app.config import composed
from recipes.app.messages import explain


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["schedule=cosin"], r"schedule=cosin is unknown \(did you mean 'cosine'\?\); choose one of cosine, .*step"),
        (["recipe=transfomer"], r"recipe=transfomer is unknown \(did you mean 'transformer'\?\); choose one of class"),
        (["callbacks=[learning_rate_loger]"], r"callbacks=learning_rate_loger is unknown \(did you mean 'learni"),
        (["schedule.warmpu=3"], r"schedule has no 'warmpu' \(did you mean 'warmup'\?\); it has warmup, warmup_type"),
        (["schedule=step", "schedule.min_lr=1"], r"schedule has no 'min_lr'; it has step_size, gamma, warmup"),
        (["trainer.max_epoch=3"], r"trainer has no 'max_epoch' \(did you mean 'max_epochs' or 'min_epochs'\?\)"),
        (["trainer.max_epochs.x=3"], r"trainer.max_epochs is a value and has no 'x'"),
        (["schedul=cosine"], r"the config has no 'schedul' \(did you mean 'schedule'\?\); it has .*recipe"),
        (["schedul.warmup=3"], r"the config has no 'schedul' \(did you mean 'schedule'\?\)"),
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
