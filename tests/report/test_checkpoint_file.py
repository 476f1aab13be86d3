"""Reading a stranger's checkpoint: none of its code is run, and what cannot be read costs one sentence."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lr_recipes.report import checkpoint_file
from lr_recipes.report.checkpoint_file import plain_of, read_lightning

CONTENT: dict[str, Any] = {
    "pytorch-lightning_version": "2.6.6",
    "state_dict": {"w": torch.ones(1000)},
    "optimizer_states": [],
    "lr_schedulers": [],
}


class Settings:
    """What people keep in ``hyper_parameters``."""

    def __init__(self) -> None:
        self.lr, self.again = 0.1, [self]


def touch(path: Path) -> None:
    path.touch()


class Touches:
    """Writes a file where its code is run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return touch, (self.path,)


class Opens(Touches):
    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.path}",))


def saved(path: Path, **more: Any) -> Path:
    torch.save({**CONTENT, **more}, path)
    return path


def laughs() -> list[Any]:
    lists: list[Any] = []
    for _ in range(30):
        lists = [lists] * 10
    return lists


def nested(deep: int) -> list[Any]:
    lists: list[Any] = []
    for _ in range(deep):
        lists = [lists]
    return lists


def round_and_round() -> list[Any]:
    lists: list[Any] = []
    lists.append(lists)
    return lists


def cut_off(path: Path) -> Path:
    saved(path)
    path.write_bytes(path.read_bytes()[:-50])
    return path


def changed(path: Path) -> Path:
    """One in which a byte of the pickle is another."""
    saved(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content.replace(b"}", b"\xff", 1) if name.endswith("data.pkl") else content)
    return path


def bomb(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10**6)
    return path


def put(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def folder(path: Path, *files: str) -> Path:
    for file in files:
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).write_bytes(b"")
    path.mkdir(exist_ok=True)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


FAULTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing": (lambda path: path, "there is no such file: give a checkpoint that Lightning has written"),
    "a misspelt name": (lambda path: saved(path.with_name("b.ckpt")).with_name("a.ckpt"), "written, such as "),
    "an empty file": (lambda path: written(path, b""), "it is empty"),
    "text": (lambda path: written(path, b"# Read me\n"), "it is damaged, or no checkpoint ("),
    "a file that was cut off": (cut_off, "it was cut off: take another"),
    "an archive of something else": (lambda path: bomb(path), "it unpacks to 1,000,000 bytes and has "),
    "a byte that has changed": (changed, "it is damaged, or no checkpoint ("),
    "weights": (lambda path: put(path, {"a": torch.ones(1), "b": torch.ones(1)}), "it holds weights alone, 2 tensors"),
    "a checkpoint of a loop": (lambda path: put(path, {"model": {}, "epoch": 1}), "for it holds model, epoch"),
    "an empty dict": (lambda path: put(path, {}), "Lightning's, for it holds nothing"),
    "a list": (lambda path: put(path, [1]), "it holds a list"),
    "code of the system": (lambda path: saved(path, x=Opens(path)), "system whose module posix is blocked"),
    "a billion laughs": (lambda path: saved(path, x=laughs()), "it unfolds to "),
    "lists in lists": (lambda path: saved(path, x=nested(150)), "its lists and dicts lie more than 100 deep"),
    "a list that holds itself": (lambda path: saved(path, x=round_and_round()), "more than 100 deep in each other"),
    "a folder of a run": (lambda path: folder(path, "checkpoints/last.ckpt"), "give a file in it, such as "),
    "an empty folder": (lambda path: folder(path), "it is a folder: give a file that Lightning has written"),
    "a folder of DeepSpeed's": (
        lambda path: folder(path, "latest", "checkpoint/mp_rank_00_model_states.pt"),
        "lie in shards: give ",
    ),
    "a pipe": (pipe, "it is a device or a pipe"),
    "a device": (lambda path: Path("/dev/zero"), "it is a device or a pipe"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_read_costs_one_sentence(name: str, tmp_path: Path) -> None:
    make, says = FAULTS[name]
    path = make(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="cannot be inspected: ") as error:
        read_lightning(path)
    assert str(error.value).startswith(f"{path} cannot be inspected: ")
    assert says in str(error.value)
    assert "give " in str(error.value)
    assert len(str(error.value).replace(str(tmp_path), "")) < 300
    assert str(error.value).isprintable()


def test_what_the_system_does_not_give_costs_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"it cannot be read \(File name too long\): give a checkpoint"):
        read_lightning("a" * 300)


def test_no_code_of_a_checkpoint_is_run_and_the_rest_is_read(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "a.ckpt", hyper_parameters={"own": Settings(), "kind": Settings, "x": Touches(tmp_path / "x")}
    )
    content, notes = read_lightning(path)
    assert not (tmp_path / "x").exists()
    assert content["optimizer_states"] == []
    (note,) = notes
    assert note.startswith("it also holds what is not loaded here, for it could run code: ")
    assert f"{Settings.__module__}.Settings" in note
    own = content["hyper_parameters"]["own"]
    assert (repr(own), vars(own)) == ("<Settings>", {})
    assert torch.serialization.get_safe_globals() == [
        one for one in torch.serialization.get_safe_globals() if "Settings" not in str(one)
    ]


@pytest.mark.parametrize(
    ("value", "read"),
    [(np.float64(0.2), 0.2), (np.float32(0.5), 0.5), (np.int64(-7), -7), (np.float16(0.5), None), (np.str_("a"), None)],
)
def test_numbers_of_numpy_are_read(value: Any, read: Any, tmp_path: Path) -> None:
    """Without numpy; an LR of ``np.logspace`` is one."""
    content, notes = read_lightning(saved(tmp_path / "a.ckpt", x={"lr": value}))
    assert (content["x"]["lr"] if read is not None else repr(content["x"]["lr"])) == (read or "<LeftOut>")
    assert notes == []


def test_very_many_classes_are_not_all_named(tmp_path: Path) -> None:
    kinds = [type(f"Kind{n}", (), {"__module__": __name__}) for n in range(9)]
    globals().update({kind.__name__: kind for kind in kinds})
    _, (note,) = read_lightning(saved(tmp_path / "a.ckpt", x=[kind() for kind in kinds]))
    assert note.endswith("Kind4 and 4 more")


def test_a_file_of_before_torch_1_6(tmp_path: Path) -> None:
    torch.save(CONTENT, tmp_path / "a.ckpt", _use_new_zipfile_serialization=False)
    content, notes = read_lightning(tmp_path / "a.ckpt")
    assert (set(content), notes) == (set(CONTENT), [])


def test_weights_stay_in_the_file(tmp_path: Path) -> None:
    """What is read takes no memory: other bytes in the file are others in the tensor."""
    content, _ = read_lightning(saved(tmp_path / "a.ckpt"))
    ones, twos = (torch.full((1000,), number).numpy().tobytes() for number in (1.0, 2.0))
    at = (tmp_path / "a.ckpt").read_bytes().index(ones)
    with (tmp_path / "a.ckpt").open("r+b") as file:
        file.seek(at)
        file.write(twos)
    assert content["state_dict"]["w"].eq(2).all()


def test_of_the_folder_of_a_sharded_checkpoint_the_part_beside_the_shards_is_read(tmp_path: Path) -> None:
    """As Lightning's FSDP strategy writes it: shards, and all but weights and optimizers in ``meta.pt``."""
    folder(tmp_path / "a.ckpt", ".metadata", "__0_0.distcp")
    put(tmp_path / "a.ckpt" / "meta.pt", {"pytorch-lightning_version": "2.6.6", "lr_schedulers": [], "epoch": 3})
    content, (note,) = read_lightning(tmp_path / "a.ckpt")
    assert content["epoch"] == 3
    assert "in the shards of the folder" in note


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (torch.tensor(0.5), 0.5),
        (torch.ones(1, 1), 1.0),
        (torch.ones(2, 3), "<Tensor of 2x3>"),
        (torch.ones(1, device="meta"), "<Tensor of 1>"),
        (Counter({2: 1}), {"2": 1}),
        ((1, [None, "a"]), [1, [None, "a"]]),
        ({1}, "{1}"),
        (10**400, f"{10**400}"[:66] + "... (401 characters)"),
        ({(1, 2): {"a": torch.tensor(True)}}, {"[1, 2]": {"a": True}}),
    ],
)
def test_values_are_plain(value: Any, plain: Any) -> None:
    assert plain_of(value) == plain


def test_what_no_checkpoint_has_is_what_tells_one() -> None:
    assert all(key in CONTENT for key in checkpoint_file._LIGHTNINGS)
