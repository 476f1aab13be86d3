"""A schedule of somebody's own: a function, or a class with public names alone, gets all that ours get."""

from __future__ import annotations

import csv
import json
import math
import re
import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from lr_recipes import Horizon, preview, schedules
from lr_recipes.plan.horizon import HorizonError
from lr_recipes.plan.resume import ResumeError
from lr_recipes.schedules import Schedule, Shape, Span, ToFloor
from recipes.app.config import composed
from recipes.app.validation import check
from tests.callbacks.harness import PEAK, fit, keep_all, messages, plan, record_lrs
from tests.optimizer.loops import attached, sgd, torch_style


@dataclass(frozen=True, kw_only=True)
class Bent(ToFloor):
    """The peak held for a while, then slowly down at first and fast at the end: m + (1 - m) (1 - p) / (1 - bend p).

    Args:
        hold: length at the peak, after the warmup; a duration.
        bend: 0 is a straight line; the nearer to 1, the later it falls.
    """

    hold: int | str = 0
    bend: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_length("hold")
        self.check_number("bend", 0, 0.99)

    def shape(self, span: Span) -> Shape:
        start = span.warmup + span.horizon.steps(self.hold, "hold")
        length = max(span.warmup + span.after_warmup("Bent") - start, 1)

        def factor(t: int) -> float:
            p = max(t - start, 0) / length
            return span.floor + (1 - span.floor) * (1 - p) / (1 - self.bend * p)

        return Shape(factor, end=span.floor, phases=[("hold", span.warmup), ("bent", start)])


pytestmark = pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`",  # the resumed runs save nothing
    "ignore:You're resuming from a checkpoint that ended before the epoch ended",
)
RUN = Horizon(total_steps=40, steps_per_epoch=10, samples_per_step=4)


def factors(schedule: Schedule, horizon: Horizon = RUN, peak: float | None = None) -> list[float]:
    curve = schedule.resolve(horizon, peak=peak)
    return [curve(n) for n in range(50)]


# As a function


def test_without_anything_it_is_the_formula() -> None:
    """Update 0 is the first at the peak, update 40 the first past the plan."""
    assert factors(Bent()) == [(1 - n / 40) / (1 - n / 80) for n in range(40)] + [0.0] * 10


@pytest.mark.parametrize("warmup", [4, "4 steps", "10%", "0.4 epochs", "16 samples"])
def test_a_warmup_in_any_unit(warmup: int | str) -> None:
    """The decay begins after it, and ends with the run."""
    used = factors(Bent(warmup=warmup))
    assert used[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert used[4:40] == [(1 - n / 36) / (1 - n / 72) for n in range(36)]


def test_a_warmup_of_any_shape() -> None:
    assert factors(Bent(warmup=4, warmup_type="constant", warmup_start_factor=0.5))[:5] == [0.5, 0.5, 0.5, 0.5, 1.0]


@pytest.mark.parametrize("hold", [10, "1 epoch", "25%", "40 samples"])
def test_a_length_of_its_own_in_any_unit(hold: int | str) -> None:
    schedule = Bent(warmup=4, hold=hold)
    used, curve = factors(schedule), schedule.resolve(RUN)
    assert used[4:15] == [1.0] * 11
    assert used[15] == (1 - 1 / 26) / (1 - 1 / 52)
    assert [tuple(phase) for phase in curve.phases] == [("warmup", 0, 3), ("hold", 4, 13), ("bent", 14, 39)]


def test_a_floor_as_a_ratio_or_as_an_lr() -> None:
    ratio, absolute = factors(Bent(min_lr_ratio=0.25)), factors(Bent(min_lr=0.05), peak=0.2)
    assert ratio == absolute
    assert ratio[20] == 0.25 + 0.75 * 0.5 / 0.75
    assert ratio[40:] == [0.25] * 10


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hold": "5 epocs"}, "hold='5 epocs': unknown unit 'epocs' (did you mean 'epochs'?)"),
        ({"hold": 0.1}, "hold=0.1: 0.1 of what"),
        ({"bend": 2}, "bend=2: must be at least 0 and at most 0.99"),
        ({"warmup": -1}, "warmup=-1:"),
        ({"min_lr": 0.1, "min_lr_ratio": 0.1}, "min_lr_ratio=0.1 and min_lr=0.1 both set the floor"),
    ],
)
def test_a_wrong_value_is_refused_at_once(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Bent(**fields)


def test_what_does_not_fit_the_run_is_refused() -> None:
    with pytest.raises(HorizonError, match=r"^Bent needs to know how many updates the run will do"):
        Bent().resolve(Horizon(steps_per_epoch=10))
    with pytest.raises(HorizonError, match="hold='1 epoch' needs steps_per_epoch"):
        Bent(hold="1 epoch").resolve(Horizon(total_steps=10))
    with pytest.raises(ValueError, match="warmup=41 is 41 updates, and the run does 40"):
        Bent(warmup=41).resolve(RUN)


def test_without_a_shape_it_says_what_is_missing() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Empty(Schedule):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty must define shape\(self, span\), which returns a Shape"):
        Empty().resolve(RUN)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda t: 1.0, r"Odd.shape\(span\) returned a function: it must return a Shape"),
        (Shape(lambda t: 1.0, 1.0, []), "Odd.shape.*without a phase: name at least one, the first from update 0 on"),
        (Shape(lambda t: 1.0, 1.0, [("late", 5)]), "Odd.shape.*first phase, 'late', begins at update 5: .*update 0 on"),
    ],
    ids=["no shape", "no phase", "a gap before the first phase"],
)
def test_a_shape_that_cannot_be_one_is_refused(made: Any, message: str) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Odd(Schedule):
        def shape(self, span: Span) -> Shape:
            return made  # type: ignore[no-any-return]

    with pytest.raises(ValueError, match=message):
        Odd().resolve(RUN)


def test_a_phase_of_a_sequence() -> None:
    """Its "%" is of the phase; its phases are the run's."""
    sequence = schedules.Sequence(schedules=[schedules.Fixed(), Bent(hold="50%")], milestones=["50%"], warmup=4)
    curve = sequence.resolve(RUN)
    assert [curve(n) for n in range(30, 40)] == [(1 - n / 10) / (1 - n / 20) for n in range(10)]
    assert [phase.name for phase in curve.phases] == ["warmup", "constant", "hold", "bent"]
    assert sequence.read(json.loads(json.dumps(sequence.describe()))) == sequence


def test_described_in_plain_values_and_read_back() -> None:
    schedule = Bent(warmup="10%", hold="1 epoch", min_lr_ratio=0.1)
    description = json.loads(json.dumps(schedule.describe()))
    assert description["schedule"] == "Bent"
    assert schedules.from_description(description) == schedule
    assert schedules.from_description(Bent().describe()) != schedule


# In a plain loop


@pytest.mark.parametrize("loop", [torch_style, attached])
def test_bound_to_an_optimizer(loop: Any) -> None:
    schedule = Bent(warmup=4, hold="1 epoch", min_lr=0.01)
    used = loop(schedule.bind(sgd(0.1, 0.001), RUN), 50)
    assert used == [[0.1 * factor, 0.001 * factor] for factor in factors(schedule, peak=0.1)]


# Before a run


def test_previewed() -> None:
    schedule = Bent(warmup=4, hold="1 epoch", min_lr_ratio=0.1)
    shown = preview(schedule, RUN, lr=0.1)
    lines = [" ".join(line.split()) for line in shown.table.splitlines()]
    assert lines[:5] == [
        "Learning-rate plan for Bent: 40 updates",
        "warmup updates 0 to 3 factor 0.25 -> 1",
        "hold updates 4 to 13 factor 1",
        f"bent updates 14 to 39 factor 1 -> {factors(schedule)[39]:.3g}",
        "group0 peak LR 0.1, floor 0.01",
    ]
    assert [shown.lrs(n)["group0"] for n in range(50)] == [0.1 * factor for factor in factors(schedule)]
    assert "optimizer update" in shown.chart(plain=True)
    (axes,) = shown.plot().axes
    assert list(axes.lines[0].get_ydata()) == [0.1 * factor for factor in factors(schedule)[:40]]


def test_previewed_beside_others() -> None:
    both = preview({"bent": Bent(), "linear": schedules.Linear()}, RUN, lr=0.1)
    assert {"bent", "linear"} <= set(both.table.split())


# In a run


RUNNING = Bent(warmup="25%", hold=2, min_lr_ratio=0.1)  # 16 updates: 4, 2 and 10


def test_a_trainer_uses_what_was_planned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        run = fit(RUNNING, callbacks=[record_lrs(tmp_path)], max_epochs=2)
    assert run.used == plan(RUNNING, 16)
    assert "Learning-rate plan for SGD: 16 updates" in messages(caplog)
    assert "Learning rate: used = planned on 16 of 16 updates, schedule complete" in messages(caplog)
    with (tmp_path / "lr.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["phase"] for row in rows] == ["warmup"] * 4 + ["hold"] * 2 + ["bent"] * 10
    assert [float(row["lr/group0"]) for row in rows] == run.used


@pytest.mark.parametrize("at", [2, 5, 11])
def test_a_resumed_run_equals_one_that_was_never_stopped(at: int, tmp_path: Path) -> None:
    """Cut in the warmup, at the peak and in the decay; the checkpoint is plain."""
    whole = fit(RUNNING, callbacks=[keep_all(tmp_path)], max_epochs=2).used
    checkpoint = tmp_path / f"step={at}.ckpt"
    torch.load(checkpoint, weights_only=True)
    assert fit(RUNNING, ckpt_path=checkpoint, max_epochs=2).used == whole[at:]


def test_another_setting_on_resume_is_asked_about(tmp_path: Path) -> None:
    whole = fit(RUNNING, callbacks=[keep_all(tmp_path)], max_epochs=2).used
    other = Bent(warmup="25%", hold=2, bend=0.75, min_lr_ratio=0.1)
    again: dict[str, Any] = {"ckpt_path": tmp_path / "step=8.ckpt", "max_epochs": 2}
    with pytest.raises(ResumeError, match=r"bend: 0.5 -> 0.75\n"):
        fit(other, **again)
    assert fit(other, options={"resume": "checkpoint"}, **again).used == whole[8:]
    assert fit(other, options={"resume": "config"}, **again).used == plan(other, 16)[8:]


def test_the_same_curve_in_other_words_asks_nothing(tmp_path: Path) -> None:
    whole = fit(RUNNING, callbacks=[keep_all(tmp_path)], max_epochs=2).used
    same = Bent(warmup=4, hold="0.25 epochs", min_lr_ratio=0.1)
    assert fit(same, ckpt_path=tmp_path / "step=8.ckpt", max_epochs=2).used == whole[8:]


# In a config


YAML = f"""
_target_: {Bent.__module__}.Bent
_convert_: all
hold: 1 epoch
bend: 0.75
warmup: 10%
min_lr_ratio: null
"""


def test_named_in_yaml() -> None:
    made = hydra.utils.instantiate(OmegaConf.create(YAML))
    assert made == Bent(hold="1 epoch", bend=0.75, warmup="10%")


def test_a_file_beside_ours_is_an_option_of_the_group(tmp_path: Path) -> None:
    """``python train.py 'hydra.searchpath=[file://...]' schedule=bent``: the knobs can be typed, and are checked."""
    (tmp_path / "schedule").mkdir()
    (tmp_path / "schedule" / "bent.yaml").write_text(YAML)
    chosen = [f"hydra.searchpath=[file://{tmp_path}]", "schedule=bent", "output_dir=x"]
    cfg = composed(*chosen, "schedule.hold=5")
    check(cfg)
    callback = hydra.utils.instantiate(cfg.callbacks.learning_rate_scheduler)
    assert callback.schedule == Bent(hold=5, bend=0.75, warmup="10%")
    with pytest.raises(InstantiationException, match="bend='high': must be a number, at least 0"):
        check(composed(*chosen, "schedule.bend=high"))


# As a function of the progress


def late(progress: float) -> float:
    return 1 - progress**4


def bumped(progress: float, height: float) -> float:
    return 1 + height * progress * (1 - progress)


OWN = schedules.Custom(function=late, warmup="25%", min_lr_ratio=0.1)


@pytest.mark.parametrize("warmup", [4, "10%", "0.4 epochs", "16 samples"])
def test_a_function_has_a_warmup_in_any_unit_and_a_floor(warmup: int | str) -> None:
    used = factors(schedules.Custom(function=late, warmup=warmup, min_lr=0.05), peak=0.1)
    assert used[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert used[4:40] == [0.5 + 0.5 * late(n / 36) for n in range(36)]
    assert used[40:] == [0.5] * 10


def test_a_function_is_a_phase_and_may_rise_above_the_base_lr() -> None:
    sequence = schedules.Sequence(
        schedules=[schedules.Custom(function=partial(bumped, height=4)), schedules.Linear()], milestones=["50%"]
    )
    assert factors(sequence)[:20] == [bumped(n / 20, 4) for n in range(20)]


def test_a_trainer_uses_a_function_as_planned_and_resumes_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        run = fit(OWN, callbacks=[record_lrs(tmp_path), keep_all(tmp_path)], max_epochs=2)
    assert run.used == pytest.approx(
        [PEAK * (n + 1) / 4 for n in range(4)] + [PEAK * (0.1 + 0.9 * late(n / 12)) for n in range(12)]
    )
    assert "Learning rate: used = planned on 16 of 16 updates, schedule complete" in messages(caplog)
    torch.load(tmp_path / "step=7.ckpt", weights_only=True)
    by_path = schedules.Custom(function=f"{__name__}.late", warmup="25%", min_lr_ratio=0.1)
    assert fit(by_path, ckpt_path=tmp_path / "step=7.ckpt", max_epochs=2).used == run.used[7:]


def test_a_function_that_has_changed_is_asked_about(tmp_path: Path) -> None:
    """Also where it has kept its name, as all that are written as a lambda have."""
    early, later = (schedules.Custom(function=lambda p, power=power: 1 - p**power) for power in (2, 3))
    fit(early, callbacks=[keep_all(tmp_path)], max_epochs=2)
    again: dict[str, Any] = {"ckpt_path": tmp_path / "step=8.ckpt", "max_epochs": 2}
    with pytest.raises(ResumeError, match=r"function: .*<lambda>: 1, 0.984375, .* -> .*<lambda>: 1, 0.998047, .*\n"):
        fit(later, **again)
    assert fit(later, options={"resume": "config"}, **again).used == plan(later, 16)[8:]
    with pytest.raises(ResumeError, match="cannot be built from a checkpoint: give the same one in the settings"):
        fit(later, options={"resume": "checkpoint"}, **again)


def test_a_function_that_a_checkpoint_names_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')")
    for saved in ("planted.late", "planted.late: 1, 0", 3, None):
        with pytest.raises(ValueError, match="give the same one in the settings"):
            schedules.from_description({**OWN.describe(), "function": saved})


def test_a_function_that_fails_in_mid_run_is_named() -> None:
    curve = schedules.Custom(function=lambda p: 1 / (p - 0.3) ** 2).resolve(Horizon(total_steps=10))
    with pytest.raises(ValueError, match=r"<lambda>' gives ZeroDivisionError.* at the progress 0\.3: it must"):
        curve(3)


# The page that says it


PAGE = (Path(__file__).parents[2] / "docs" / "own_schedule.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_code_of_the_page_runs_and_prints_what_stands_there(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, Any] = {"__name__": "my_schedules"}
    for block in blocks("python"):
        exec(compile(block, "own_schedule.md", "exec", dont_inherit=True), scope)
    printed = capsys.readouterr().out
    assert printed.count("\n") > 8
    assert "".join(f"    {line}\n" if line else "\n" for line in printed.splitlines()) in PAGE
    assert factors(scope["Late"](warmup=4, hold=6, power=1, min_lr_ratio=0.5))[9:12] == [
        1,
        1,
        pytest.approx(1 - 0.5 / 30),
    ]
    quarter = [math.cos(math.pi * n / 72) for n in range(36)]
    assert factors(scope["Quarter"](warmup=4))[4:40] == pytest.approx(quarter)


def test_the_files_of_the_page_are_options_of_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine" / "schedule").mkdir(parents=True)
    function, _, quarter, *_ = blocks("python")
    (tmp_path / "my_schedules.py").write_text(f"{function}\n{quarter}")
    (tmp_path / "mine" / "schedule" / "quarter.yaml").write_text(blocks("yaml")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    made = []
    for line in re.findall(r"train\.py (.*)", PAGE):
        cfg = composed(*shlex.split(line), "output_dir=x")
        check(cfg)
        made.append(hydra.utils.instantiate(cfg.schedule))
    (custom, own) = made
    assert repr(custom) == "Custom(warmup='10%', function='my_schedules.late')"
    assert (type(own).__name__, type(own).__module__, own.warmup) == ("Quarter", "my_schedules", "10%")
