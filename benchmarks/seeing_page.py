"""What stands in docs/seeing.md below its pieces of code, made anew: `python -m benchmarks.seeing_page`.

The pieces are run one after another, in an empty folder, as one program; commands of `lr-recipes` are run where they
stand. What was printed, logged and written since the piece before is put below each mark of the page.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.forecast_pages import DOCS, listening
from lr_recipes import command_line

PAGE = DOCS / "seeing.md"
_PART = re.compile(r"```python\n([\s\S]*?)```\n|<!-- seeing: (\w+) -->\n\n(?: {4}.*\n|\n)*")
_ROWS = 3  # of lr.csv that are shown at either end


@contextlib.contextmanager
def _in_folder(folder: str) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class Shown:
    """What the pieces of the page have done so far, and what of it is shown."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {"__name__": "seeing"}
        self.said: list[str] = []
        self.printed = ""

    def run(self, code: str) -> None:
        """Run a piece, and keep what it says and prints."""
        out = io.StringIO()
        with listening() as said, contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            exec(code, self.scope)
        self.said, self.printed = said, out.getvalue()

    def plan(self) -> str:
        return "\n".join(text for text in self.said if text.startswith("Learning-rate "))

    def forecast(self) -> str:
        return self.printed

    def preview(self) -> str:
        return self.printed

    def bar(self) -> str:
        last: str = re.findall(r"\blr[:=]\s*([\d.e-]+)", self.printed)[-1]  # of a bar of rich or of tqdm
        return f"lr={last}"

    def closing(self) -> str:
        first = next(k for k, text in enumerate(self.said) if text.startswith("Learning rate: "))
        return "\n".join(self.said[first:])

    def rows(self) -> str:
        lines = Path("lightning_logs/version_0/lr.csv").read_text().splitlines()
        return "\n".join([*lines[: 1 + _ROWS], "...", *lines[-_ROWS:]])

    def command(self, typed: str) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            command_line.main(typed.split()[1:])
        return f"$ {typed}\n{out.getvalue()}"

    def audit(self) -> str:
        return self.command("lr-recipes audit lightning_logs/version_0/lr.csv")

    def inspect(self) -> str:
        return self.command("lr-recipes inspect lightning_logs/version_0/checkpoints/epoch=4-step=200.ckpt")


def written(page: str, pictures: Path | None = None) -> str:
    """Return the page with what its pieces do.

    Args:
        page: its text.
        pictures: the folder that its pictures are copied to, if they are.
    """
    shown = Shown()

    def again(found: re.Match[str]) -> str:
        code, name = found.groups()
        if code:
            shown.run(code)
            return found[0]
        text: str = getattr(shown, name)().replace(os.getcwd(), "...").strip()
        block = "".join(f"    {line}".rstrip() + "\n" for line in text.splitlines())
        return f"<!-- seeing: {name} -->\n\n{block}\n"

    with tempfile.TemporaryDirectory() as folder, _in_folder(folder):
        text = _PART.sub(again, page)
        if pictures is not None:
            for number, picture in enumerate(["seeing.png", "seeing_wrong.png"]):
                shutil.copy(f"lightning_logs/version_{number}/lr.png", pictures / picture)
            shutil.copy("seeing_groups.png", pictures)
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), DOCS), encoding="utf-8")


if __name__ == "__main__":
    main()
