"""Reads a checkpoint before a run depends on it, takes weights from it, and refuses those of another model."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lr_recipes.checks import one_line

_KEPT = ("best_model_path", "kth_best_model_path", "last_model_path")  # in the state of Lightning's ModelCheckpoint


def read_checkpoint(path: str, name: str) -> dict[str, Any]:
    """Load a Lightning checkpoint; tensors stay in the file until they are used.

    Args:
        path: the file.
        name: the setting that it was given in, for messages.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError: it is damaged or not a checkpoint.
    """
    file = Path(path)
    if not file.is_file():
        near = sorted(str(one) for one in file.parent.glob("*.ckpt")) if file.parent.is_dir() else []
        there = f"that folder has {', '.join(near)}" if near else "checkpoints are in <run>/checkpoints"
        raise FileNotFoundError(f"{name}={path!r} is not a file: {there}")
    try:
        # torch.save writes an archive with its directory at the end, so one that was cut off is not recognised as one
        if not zipfile.is_zipfile(file):
            raise ValueError("not a complete archive")
        # torch.save compresses nothing, so an archive that holds more than it takes was made to fill the memory
        with zipfile.ZipFile(file) as archive:
            if sum(one.file_size for one in archive.infolist()) > file.stat().st_size:
                raise ValueError("it unpacks to more than it is")
        checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except OSError:
        raise
    except Exception as error:  # torch raises a different one for each way in which a file can be damaged
        reason = one_line(str(error).partition(". ")[0][:120])
        raise ValueError(
            f"{name}={path!r} is damaged or not a checkpoint ({reason}): take another, such as best.ckpt beside it"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(f"{name}={path!r} is not a Lightning checkpoint: it has no 'state_dict'")
    return checkpoint


def check_paths(checkpoint: dict[str, Any], name: str) -> None:
    """Refuse a checkpoint that has a ModelCheckpoint take files elsewhere for its own: it removes what it kept before.

    Lightning removes them in the callback's own folder, and behind any URL; it does not see that ".." leads out.

    Raises:
        ValueError: names the file.
    """
    for state in checkpoint.get("callbacks", {}).values():
        kept = [state.get(key) for key in _KEPT] + list(state.get("best_k_models") or ())
        for path in filter(None, kept):
            if "://" in str(path) or ".." in Path(str(path)).parts:
                raise ValueError(
                    f"{name} names {str(path)!r} as a file that its run kept, and this run might remove it: take only "
                    f"the weights, with weights= in place of ckpt_path="
                )


def load_backbone(checkpoint: dict[str, Any], model: nn.Module, name: str, new_head: bool = False) -> list[str]:
    """Load weights into a model; its head keeps its own where those in the checkpoint are for other classes.

    Args:
        checkpoint: as loaded.
        model: the head is what its method ``head`` returns, if it has one.
        name: where the checkpoint was given, for the message.
        new_head: leave the head out even where it fits.

    Returns:
        Names of the tensors that were left out.

    Raises:
        ValueError: anything but the head differs.
    """
    saved, own, head = checkpoint["state_dict"], model.state_dict(), _head_of(model)
    new = [key for key in own if key in head and (new_head or key not in saved or saved[key].shape != own[key].shape)]
    taken = {**saved, **{key: own[key] for key in new}}
    check_weights({"state_dict": taken}, model, name)
    model.load_state_dict(taken)
    return new


def _head_of(model: Any) -> set[str]:
    """Names of the tensors of the head."""
    if not hasattr(model, "head"):
        return set()
    head = model.head()
    (prefix,) = (name for name, module in model.named_modules() if module is head)
    return {f"{prefix}.{key}" for key in head.state_dict()}


def check_weights(checkpoint: dict[str, Any], model: nn.Module, name: str) -> None:
    """Refuse the weights of another model.

    Raises:
        ValueError: tensors are missing, left over or of another shape; names the first ones.
    """
    saved = {key: tuple(value.shape) for key, value in checkpoint["state_dict"].items()}
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    odd = [key for key in {**wanted, **saved} if saved.get(key) != wanted.get(key)]
    if odd:
        first = "; ".join(f"{one_line(key)}: {_shape(saved, key)} there, {_shape(wanted, key)} here" for key in odd[:3])
        count = f"{len(odd)} of {len({**wanted, **saved})} tensors differ{'s' * (len(odd) == 1)}"
        raise ValueError(
            f"{name} was made by another model: {count} ({first}). Choose the model and the data that it was made with"
        )


def check_optimizer_state(checkpoint: dict[str, Any], optimizer: Any, name: str) -> None:
    """Refuse the state of another kind of optimizer, which would fail at some later update.

    Args:
        checkpoint: as loaded.
        optimizer: what ``configure_optimizers`` returned; anything but one optimizer is not checked.
        name: where the checkpoint was given, for the message.

    Raises:
        ValueError: the saved groups have other settings than the optimizer's.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        return
    for state in checkpoint.get("optimizer_states", []):
        saved = {key for group in state["param_groups"] for key in group}
        missing = sorted(set(optimizer.defaults) - saved)
        if missing:
            raise ValueError(
                f"{name} was made with another optimizer: {type(optimizer).__name__} needs {', '.join(missing)}, which "
                "are not in it. Choose the optimizer that it was made with"
            )


def _shape(shapes: dict[str, tuple[int, ...]], key: str) -> str:
    return "x".join(map(str, shapes[key])) or "one number" if key in shapes else "missing"
