"""What stands in docs/forecast.md below each of its pieces of code, made anew: `python -m benchmarks.forecast_pages`.

Each piece is a ``configure_optimizers`` and the Trainer's arguments. It is trained by plain Lightning, where a hook
reads the LR of each update; then with a ``LearningRateLogger``, of which all words are kept; and its forecast is drawn.
README.md shows what is said of the first one.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

import lr_recipes
from benchmarks.heard import heard
from lr_recipes import LearningRateLogger
from lr_recipes.report.findings import FINDINGS
from lr_recipes.report.picture import save_figure

DOCS = Path(__file__).parents[1] / "docs"
BATCHES = 10  # of an epoch, in all of them
SHARES = (0, 20, 40, 60, 80, 100)
_PIECE = re.compile(r"```python\n(def configure_optimizers.*?)```\n(.*?)!\[(.*?)\]\((.*?)\)", re.DOTALL)


class Piece(NamedTuple):
    """A piece of code of the page: its ``configure_optimizers`` and the arguments of its Trainer."""

    configure: Callable[[Any], Any]
    arguments: Mapping[str, Any]

    @classmethod
    def of(cls, code: str) -> Piece:
        scope: dict[str, Any] = {**vars(torch.optim), **vars(torch.optim.lr_scheduler), "Trainer": dict}
        scope["loader"] = range(BATCHES)
        exec(code, scope)
        return cls(scope["configure_optimizers"], scope["trainer"])

    def trainer(self, *callbacks: Callback) -> Trainer:
        return Trainer(
            **self.arguments,
            callbacks=list(callbacks),
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    def module(self) -> LightningModule:
        return Net(self.configure)


class Net(LightningModule):
    """A backbone and a head, whose optimizers are a piece's."""

    def __init__(self, configure: Callable[[Any], Any]) -> None:
        super().__init__()
        self.backbone, self.head = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
        self.configure = configure

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.head(self.backbone(batch)).square().mean()  # type: ignore[no-any-return]

    def configure_optimizers(self) -> Any:
        return self.configure(self)


class Reads(Callback):
    """Reads the LR of every group when the optimizer steps."""

    def __init__(self) -> None:
        self.lrs: list[list[float]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.optimizers[0].register_step_pre_hook(self._read)

    def _read(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self.lrs.append([float(group["lr"]) for group in optimizer.param_groups])


def loader() -> DataLoader[Any]:
    return DataLoader(torch.ones(BATCHES, 1))  # type: ignore[arg-type]


@contextmanager
def listening() -> Iterator[list[str]]:
    """What is logged and warned of by Lightning's loggers and ours, in its order."""
    with heard() as said, warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: said.append(str(message))
        yield said


def trained(piece: Piece, *callbacks: Callback) -> tuple[list[str], str]:
    """Train it; return what was said, and the error that it ended with."""
    error = ""
    with listening() as said:
        try:
            piece.trainer(*callbacks).fit(piece.module(), loader())
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
    return said, error


def plainly(piece: Piece) -> str:
    """What plain Lightning does with it, in a table, and says about it."""
    reads = Reads()
    said, error = trained(piece, reads)
    words = [text for text in said if re.search(r"schedul|learning.rate|\blr\b", text, re.IGNORECASE)]
    says = f"and says: {' '.join(words)}" if words else "without a word"
    last = len(reads.lrs) - 1
    at = [share * last // 100 for share in SHARES]
    rows = [["update", *(f"{n:,}" for n in at)]]
    groups = len(reads.lrs[0])
    for group in range(groups):
        name = "LR" if groups == 1 else f"LR of group{group}"
        rows.append([name, *(f"{reads.lrs[n][group]:.3g}" for n in at)])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    stops = ["", f"and then it stops: `{error.splitlines()[0].strip()}`"] if error else []
    return "\n".join([f"Plain Lightning uses, {says}:", "", *lines, *stops])


def printed(piece: Piece) -> str:
    """What a run with a `LearningRateLogger` prints."""
    with tempfile.TemporaryDirectory() as folder:
        said, _ = trained(piece, LearningRateLogger(folder, plot=False))
    ours = [text for text in said if re.match("Learning.rate", text) or text.partition(":")[0] in FINDINGS]
    return "\n".join(re.sub(r", see \S+$", "", text) for text in ours)


def written(page: str, pictures: Path | None = None) -> str:
    """Return a page with what belongs below its pieces of code.

    Args:
        page: its text.
        pictures: the folder in which its pictures are drawn, if they are.
    """

    def again(found: re.Match[str]) -> str:
        code, _, title, picture = found.groups()
        piece = Piece.of(code)
        if pictures is not None:
            with listening():
                told = lr_recipes.forecast(piece.trainer(), piece.module(), loader())
            save_figure(told.plot(), pictures / picture)
        block = "\n".join(f"    {line}" for line in printed(piece).splitlines())
        return (
            f"```python\n{code}```\n\n{plainly(piece)}\n\n"
            f"With `LearningRateLogger()` the run prints:\n\n{block}\n\n![{title}]({picture})"
        )

    return _PIECE.sub(again, page)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    page = DOCS / "forecast.md"
    page.write_text(written(page.read_text(encoding="utf-8"), DOCS), encoding="utf-8")


if __name__ == "__main__":
    main()
