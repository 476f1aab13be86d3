from __future__ import annotations

import functools
import sys
from typing import Any, Literal

import pytest
from omegaconf import DictConfig
from torch import Tensor

from recipes.app import config
from recipes.app.validation import check, mismatch, parameters_of, task_of


def composed(*overrides: str) -> DictConfig:
    return config.composed("output_dir=unused", *overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+schedule.warmpu=3"], r"schedule has no 'warmpu' \(did you mean 'warmup'\?\); it has warmup, warmup_type"),
        (["+trainer.max_epoch=3"], r"trainer has no 'max_epoch' \(did you mean"),
        (["+data.sead=3"], r"data has no 'sead' \(did you mean 'seed'\?\); it has size, train_size, label_noise"),
        (["data=topics", "+data.contxt=3"], r"data has no 'contxt' \(did you mean 'context'\?\)"),
        (["+callbacks.best_checkpoint.monitr=x"], r"callbacks.best_checkpoint has no 'monitr' \(did you mean"),
        (["+sed=3"], r"the config has no 'sed' \(did you mean 'seed'\?\); it has seed"),
        (["schedule.warmup=5 foos"], r"warmup='5 foos': unknown unit 'foos'.*units are steps, epochs, %, samples"),
        (["schedule.warmup=0.1"], r"0.1 of what\? Write '10%'"),
        (["schedule.warmup=-3"], r"warmup=-3: a length must be zero or more"),
        (["schedule.warmup=null"], r"warmup=None is not a duration"),
        (["schedule.min_lr=0.1", "schedule.min_lr_ratio=0.1"], r"both set the floor: give one"),
        (["schedule=step", "schedule.step_size=0"], r"step_size=0: a length must be positive"),
        (["schedule=step", "schedule.gamma=abc"], r"gamma='abc': must be a number, above 0 and at most 1"),
        (["trainer.max_epochs=abc"], r"trainer.max_epochs='abc': should be a valid integer; Trainer takes max_epochs"),
        (["trainer.max_epochs=2.5"], r"trainer.max_epochs=2.5: should be a valid integer"),
        (["trainer.precision=17"], r"trainer.precision=17: should be 64, 32 or 16 or .*'bf16-mixed'"),
        (["trainer.detect_anomaly=3"], r"trainer.detect_anomaly=3: should be a valid boolean"),
        (["optimizer.lr=abc"], r"^optimizer.lr='abc': should be a valid number; AdamW takes lr: float"),
        (["optimizer.lr=-1"], r"optimizer.lr=-1: must be above 0; it is the peak of the schedule"),
        (["optimizer.lr=0"], r"optimizer.lr=0: must be above 0"),
        (["optimizer.lr=nan"], r"optimizer.lr=nan: must be above 0"),
        (["optimizer.lr=null"], r"optimizer.lr=None: should be a valid number"),
        (["optimizer.betas=[0.9,1.5]"], r"optimizer: Invalid beta parameter at index 1: 1.5"),
        (["optimizer.betas=[0.9]"], r"optimizer.betas=\[0.9\]: .*required"),
        (["optimizer=sgd", "optimizer.momentum=0"], r"optimizer: Nesterov momentum requires a momentum"),
        (["model.compile=maybe"], r"model.compile='maybe': should be a valid boolean"),
        (["data.batch_size=many"], r"data.batch_size='many': should be a valid integer; DigitsData takes batch_s"),
        (["callbacks.best_checkpoint.mode=3"], r"callbacks.best_checkpoint.mode=3: should be a valid string"),
        (["data=text_file"], r"data.path has no value yet: give one, as in data.path=VALUE"),
        (["seed=abc"], r"^seed='abc': should be a valid integer"),
        (["seed=-1"], r"^seed=-1: should be from 0 to 4,294,967,295"),
        (["resume=maybe"], r"^resume='maybe': should be 'error', 'checkpoint', 'config' or 'restart'"),
        (["ckpt_path=3"], r"^ckpt_path=3: should be a valid string"),
        (["pretraining=glyphs"], r"^pretraining='glyphs': should be a valid array"),
        (["pretrained_dir=null"], r"^pretrained_dir=None: should be a valid string"),
        (["threads=0"], r"^threads=0: must be from 1 to \d+, the cores of this machine"),
        (["threads=many"], r"^threads='many': should be a valid integer or should be 'auto'"),
        (["trainer.max_epochs=" + "9" * 300], r"^trainer.max_epochs=9{66}\.\.\. \(300 characters\): .* at most 9,223"),
        (["data.batch_size=-99999999999999999999"], r"^data.batch_size=-99999999999999999999: is too large, at most"),
        (["~logger"], r"^logger is not there: leave ~logger out"),
        (["callbacks.best_checkpoint=3"], r"^callbacks=.*: must be one of checkpoint, default, .* write callbacks.N"),
        (["schedule._target_=inf"], r"^schedule._target_=inf cannot be found: name a function or a class"),
        (["model._target_=no.such.Model"], r"^model._target_='no.such.Model' cannot be found: name a function or a cl"),
        (["model._target_=math.pi"], r"^model._target_='math.pi' is neither a function nor a class"),
        (["optimizer._partial_=0"], r"^optimizer._partial_=0: must be true or false"),
        (["+schedule._recursive_=no way"], r"^schedule._recursive_='no way': must be true or false"),
        (["batch_scaling=256"], r"^batch_scaling=256: should be an object"),
    ],
)  # fmt: skip
def test_a_wrong_key_or_value_is_refused_before_anything_is_built(overrides: list[str], message: str) -> None:
    cfg = composed(*overrides)
    with pytest.raises(Exception, match=message):
        check(cfg)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("~task", "^task=None: must be one of preview, range_test, train"),
        ("task.function=recipes.app.nothing", "^task.function='recipes.app.nothing' cannot be found"),
        ("task.function=3", "^task.function=3 cannot be found"),
    ],
)
def test_a_task_that_is_none_is_refused(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task_of(composed(override))
    assert task_of(composed("task=preview")).__name__ == "run"


def test_keys_may_be_numbers() -> None:
    accumulation = "{_target_:lightning.pytorch.callbacks.GradientAccumulationScheduler,scheduling:{0:2}}"
    check(composed(f"+callbacks.more={accumulation}"))


def test_what_is_right_passes() -> None:
    right = [
        "trainer.devices=[0,1]", "trainer.max_time=00:01:00:00", "trainer.deterministic=warn", "trainer.precision=16",
        "trainer.limit_train_batches=3", "trainer.gradient_clip_val=1", "optimizer.lr=1", "optimizer.fused=true",
        "optimizer.betas=[0.8,0.9]", "schedule.warmup=5ep", "seed=4294967295",
    ]  # fmt: skip
    check(composed(*right))


@pytest.mark.parametrize(
    ("annotation", "value", "fits"),
    [
        (int, 3, True),
        (int, "3", False),
        (int, True, False),
        (int, 3.0, False),
        (float, 3, True),
        (float, "3", False),
        (bool, 1, False),
        (str, 3, False),
        (int | None, None, True),
        (int, None, False),
        (tuple[float, float], [0.9, 0.99], True),
        (tuple[float, float], [0.9], False),
        (list[int] | str, [1, "x"], False),
        (float | Tensor, 0.1, True),
        (float | Tensor, "x", False),
        (Literal["min", "max"], "mean", False),
        (Any, "x", True),
    ],
)
def test_a_value_fits_its_annotation(annotation: Any, value: Any, fits: bool) -> None:
    assert (mismatch(annotation, value) is None) is fits


class Base:
    def __init__(self, *, size: int = 3, name: str = "x") -> None: ...


class Derived(Base):
    def __init__(self, *, size: int = 4, level: str = "char", **options: Any) -> None: ...


class Open:
    def __init__(self, size: int, **more: Any) -> None: ...


def test_options_of_a_class_stand_for_the_parameters_of_its_base() -> None:
    assert set(parameters_of(Derived)) == {"size", "level", "name"}
    assert parameters_of(Derived)["size"].default == 4
    assert list(parameters_of(Open)) == ["size", "more"]
    assert list(parameters_of(functools.partial(Base, size=1))) == ["size", "name"]


def test_without_pydantic_types_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that lends its interpreter may lack it; names and schedules are checked all the same."""
    assert mismatch(int, "abc")
    monkeypatch.setitem(sys.modules, "pydantic", None)
    assert mismatch(int, "abc") is None
