from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from recipes.app.checkpoints import check_optimizer_state, check_weights, load_backbone, read_checkpoint


def saved(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Path:
    states = [] if optimizer is None else [optimizer.state_dict()]
    torch.save({"state_dict": model.state_dict(), "optimizer_states": states}, path)
    return path


def test_a_whole_checkpoint_is_read(tmp_path: Path) -> None:
    model = nn.Linear(2, 3)
    checkpoint = read_checkpoint(str(saved(tmp_path / "last.ckpt", model)), "weights")
    check_weights(checkpoint, model, "weights")
    model.load_state_dict(checkpoint["state_dict"])


def test_a_missing_one_names_those_beside_it(tmp_path: Path) -> None:
    saved(tmp_path / "best.ckpt", nn.Linear(2, 3))
    with pytest.raises(FileNotFoundError, match=r"ckpt_path='.*lst.ckpt' is not a file: that folder has .*best.ckpt"):
        read_checkpoint(str(tmp_path / "lst.ckpt"), "ckpt_path")
    with pytest.raises(FileNotFoundError, match=r"is not a file: checkpoints are in <run>/checkpoints"):
        read_checkpoint(str(tmp_path / "nowhere" / "last.ckpt"), "ckpt_path")


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_a_damaged_one_is_refused(tmp_path: Path, keep: float) -> None:
    path = saved(tmp_path / "last.ckpt", nn.Linear(20, 30))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=r"weights='.*last.ckpt' is damaged or not a checkpoint .*: take another"):
        read_checkpoint(str(path), "weights")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(ValueError, match="not a checkpoint"):
        read_checkpoint(str(tmp_path / "text.ckpt"), "weights")
    torch.save({"weights": torch.ones(1)}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="not a Lightning checkpoint: it has no 'state_dict'"):
        read_checkpoint(str(tmp_path / "other.ckpt"), "weights")


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "extra": Path()}, tmp_path / "code.ckpt")
    with pytest.raises(ValueError, match="damaged or not a checkpoint"):
        read_checkpoint(str(tmp_path / "code.ckpt"), "weights")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(2, 4), r"2 of 2 tensors differ \(weight: 3x2 there, 4x2 here; bias: 3 there, 4 here\)"),
        (nn.Linear(2, 3, bias=False), r"1 of 2 tensors differs \(bias: 3 there, missing here\)"),
        (nn.Sequential(nn.Linear(2, 3)), r"4 of 4 tensors differ \(0.weight: missing there, 3x2 here"),
    ],
)
def test_weights_of_another_model_are_refused(tmp_path: Path, model: nn.Module, message: str) -> None:
    checkpoint = read_checkpoint(str(saved(tmp_path / "a.ckpt", nn.Linear(2, 3))), "weights")
    with pytest.raises(ValueError, match=f"weights was made by another model: {message}.*Choose the model"):
        check_weights(checkpoint, model, "weights")


@pytest.mark.parametrize(
    ("made_with", "wanted", "missing"),
    [(AdamW, SGD, "dampening, momentum, nesterov"), (SGD, AdamW, "amsgrad, betas, capturable"), (Adam, AdamW, None)],
)
def test_the_state_of_another_optimizer_is_refused(made_with: Any, wanted: Any, missing: str | None) -> None:
    model = nn.Linear(2, 3)
    checkpoint = {"optimizer_states": [made_with(model.parameters(), lr=0.1).state_dict()]}
    if missing is None:
        check_optimizer_state(checkpoint, wanted(model.parameters(), lr=0.1), "ckpt_path")
        return
    with pytest.raises(ValueError, match=f"made with another optimizer: {wanted.__name__} needs {missing}"):
        check_optimizer_state(checkpoint, wanted(model.parameters(), lr=0.1), "ckpt_path")


class WithHead(nn.Module):
    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.body, self.last = nn.Linear(2, width), nn.Linear(width, classes)

    def head(self) -> nn.Module:
        return self.last


@pytest.mark.parametrize(
    ("classes", "new_head", "left_out"),
    [(5, False, []), (5, True, ["last.weight", "last.bias"]), (7, False, ["last.weight", "last.bias"])],
)
def test_a_head_for_other_classes_is_new(classes: int, new_head: bool, left_out: list[str]) -> None:
    there, here = WithHead(3, 5), WithHead(3, classes)
    before = {key: value.clone() for key, value in here.state_dict().items()}
    assert load_backbone({"state_dict": there.state_dict()}, here, "weights", new_head) == left_out
    for key, value in here.state_dict().items():
        assert torch.equal(value, before[key] if key in left_out else there.state_dict()[key])


def test_a_backbone_must_fit_and_without_a_head_everything() -> None:
    with pytest.raises(ValueError, match=r"weights was made by another model: .*body.weight: 4x2 there, 3x2 here"):
        load_backbone({"state_dict": WithHead(4, 5).state_dict()}, WithHead(3, 5), "weights")
    with pytest.raises(ValueError, match="weights was made by another model"):
        load_backbone({"state_dict": nn.Linear(2, 5).state_dict()}, nn.Linear(2, 7), "weights")
