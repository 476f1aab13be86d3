"""Schedules as values: never changed, but copied, compared, written back as they are, and read by torch."""

from __future__ import annotations

import abc
import copy
import dataclasses
import inspect
import io
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_utilities.core.apply_func import apply_to_collection

from lr_recipes import Horizon
from lr_recipes.schedules import Cosine, Fixed, Linear, MultiStep, Plateau, Schedule, Sequence, Shape, Span, ToFloor
from lr_recipes.schedules.frozen import kinds_of


class Named(abc.ABC):  # noqa: B024 - what matters is its metaclass
    """Something of a user's own that is an abstract class."""


@dataclass(frozen=True, kw_only=True)
class Own(ToFloor, Named):
    level: float = 1.0

    def shape(self, span: Span) -> Shape:
        return Shape(lambda t: self.level, self.level, [("own", span.warmup)])


VALUES = [
    Cosine(warmup="10%", min_lr=1e-5),
    Plateau(patience=3),
    MultiStep(milestones=["50%", 80]),
    Sequence(schedules=[Fixed(warmup=2), Linear()], milestones=["50%"]),
    Own(level=0.5, warmup=3),
]
each = pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)


@each
@pytest.mark.behaviour("B55")
def test_copies_are_equal(value: Schedule) -> None:
    copies = [copy.copy(value), copy.deepcopy(value), dataclasses.replace(value)]
    copies += [pickle.loads(pickle.dumps(value, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    for one in copies:
        assert (one, hash(one), repr(one), type(one)) == (value, hash(value), repr(value), type(value))
        assert one.describe() == value.describe()


@pytest.mark.parametrize("kind", [Cosine, Own])
def test_a_misspelt_field_is_answered_with_those_that_there_are(kind: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{kind.__name__} has no argument 'warmpu' \(did you mean 'warmup'\?\); it"):
        kind(warmpu=3)
    fields = [field.name for field in dataclasses.fields(kind) if field.init]
    assert list(inspect.signature(kind).parameters) == fields


@each
def test_a_field_is_written_back_and_never_changed(value: Schedule) -> None:
    for field in dataclasses.fields(value):
        setattr(value, field.name, copy.deepcopy(getattr(value, field.name)))
        with pytest.raises(FrozenInstanceError, match=rf"'{field.name}'.*dataclasses.replace\(schedule, {field.name}="):
            setattr(value, field.name, "another")
        with pytest.raises(FrozenInstanceError, match=field.name):
            delattr(value, field.name)
    with pytest.raises(FrozenInstanceError, match="'note'"):
        value.note = 1  # type: ignore[attr-defined]
    assert value == copy.deepcopy(value)


@each
@pytest.mark.behaviour("B55")
def test_lightning_passes_over_it_in_a_collection(value: Schedule) -> None:
    """As it does with hyper-parameters and batches; what it looks for is found beside the schedule."""
    passed = apply_to_collection({"schedule": value, "n": 1, "more": [value, 2]}, int, lambda number: number)
    assert passed == {"schedule": value, "n": 1, "more": [value, 2]}


@each
def test_says_which_schedule_it_is(value: Schedule) -> None:
    assert dataclasses.asdict(value)["schedule"] == value.schedule == value.describe()["schedule"]
    assert value.schedule == type(value).__name__


def loaded(value: Any) -> Any:
    file = io.BytesIO()
    torch.save({"value": value}, file)
    file.seek(0)
    return torch.load(file, weights_only=True)["value"]


@each
@pytest.mark.behaviour("B55")
def test_torch_reads_it_with_weights_only(value: Schedule) -> None:
    assert loaded(value) == value


@pytest.mark.behaviour("B55")
def test_torch_reads_a_class_that_was_just_made() -> None:
    """In a class statement after torch: ``load_from_checkpoint`` comes before the first schedule is made."""
    made = dataclass(frozen=True, kw_only=True)(type("Late", (Own,), {"__module__": __name__}))
    assert made in torch.serialization.get_safe_globals()
    assert made in kinds_of(Schedule)


@pytest.mark.behaviour("B55")
def test_what_is_read_is_checked() -> None:
    """A checkpoint may come from anywhere; nobody can write into it what nobody could write into a program."""
    tampered = copy.copy(Cosine(warmup=5))
    vars(tampered)["warmup"] = -1
    with pytest.raises(ValueError, match="warmup=-1"):
        loaded(tampered)
    with pytest.raises(ValueError, match="warmup=-1"):
        pickle.loads(pickle.dumps(tampered))


ORDERS = {
    "torch first": "import torch; from lr_recipes import schedules",
    "torch later, before a schedule is made": "from lr_recipes import schedules; import torch; schedules.Fixed()",
}


@pytest.mark.behaviour("B55")
@pytest.mark.parametrize("imports", ORDERS.values(), ids=ORDERS.keys())
def test_torch_reads_it_in_a_fresh_process(imports: str, tmp_path: Path) -> None:
    torch.save(VALUES[:4], tmp_path / "values.pt")
    script = f"{imports}; print(torch.load({str(tmp_path / 'values.pt')!r}, weights_only=True))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == repr(VALUES[:4]), done.stderr


def test_a_pickle_of_the_release_before_is_read() -> None:
    """It has every field but the name, which was none then."""
    old = Cosine.__new__(Cosine)
    vars(old).update(warmup=7, warmup_type="linear", warmup_start_factor=None, min_lr_ratio=0.1, min_lr=None)
    read = pickle.loads(pickle.dumps(old))
    assert read == Cosine(warmup=7, min_lr_ratio=0.1)
    assert read.describe() == Cosine(warmup=7, min_lr_ratio=0.1).describe()


def test_a_class_with_an_abstract_class_beside_it_works() -> None:
    assert Own(level=0.5).resolve(Horizon(total_steps=4))(2) == 0.5
    assert isinstance(Own(), Named)
