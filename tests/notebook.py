"""Runs a notebook in a kernel of its own and keeps what belongs into it: ``python -m tests.notebook`` writes it anew.

What others say on stderr, such as which devices Lightning has found, differs between machines and is left out.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "notebook.ipynb"
_OURS = re.compile(r"^(?:Learning|LR range test|See ).*\n(?:  .*\n)*", re.M)  # a line of ours, and those of its block


def executed(path: Path, folder: Path) -> Any:
    """Return a notebook as it is after all of its cells were run, in a folder."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=120, record_timing=False, resources={"metadata": {"path": str(folder)}}, kernel_name="python3"
    )
    client.execute(env={**os.environ, "OMP_NUM_THREADS": "1"})  # tests run beside each other
    for cell in code_of(notebook):
        cell.outputs = _tidied(cell.outputs)
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    return notebook


def code_of(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _tidied(outputs: list[Any]) -> list[Any]:
    """Without what others say; what is left of text that follows text is one."""
    kept: list[Any] = []
    for output in outputs:
        if output.output_type == "stream" and output.name == "stderr":
            output.text = "".join(_OURS.findall(output.text))
            if not output.text:
                continue
            if kept and kept[-1].get("name") == "stderr":
                kept[-1].text += output.text
                continue
        kept.append(output)
    return kept


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as own:
        nbformat.write(executed(NOTEBOOK, Path(own)), NOTEBOOK)
