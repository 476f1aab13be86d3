"""How the site is built, by `make docs`: the pages as they lie in the repository, and the API from the docstrings.

The source folder is the repository, so that a link between two pages is the same on a code host and in the site. Its
first page is the README. The menu is what `docs/index.md` links to, under its headings; a page that it forgets is under
"More".
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from lightning.pytorch import Callback
from sphinx.application import Sphinx

import lr_recipes

ROOT = Path(__file__).parents[1]

project = "lr_recipes"
version = release = lr_recipes.__version__
root_doc = "README"
include_patterns = ["*.md", "docs/**", "recipes/README.md", "examples/README.md"]
exclude_patterns = [
    one.name for one in ROOT.iterdir() if one.is_dir() and one.name not in {"docs", "recipes", "examples"}
]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
myst_heading_anchors = 3
highlight_language = "none"  # an indented block is what is typed or printed; Python and YAML are fenced and say so
copybutton_exclude = ".linenos, .gp, .go"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
napoleon_custom_sections = ["Source"]
python_use_unqualified_type_names = True
napoleon_use_ivar = True
toc_object_entries = False
nitpicky = True
nitpick_ignore_regex = [
    # Of others: this site links to itself alone.
    (r"py:.*", r"(abc|collections|contextlib|pathlib|torch|lightning)\..*"),
    (r"py:.*", r"Path|Figure"),
    # Types that a reader of the public names meets in signatures only.
    (r"py:class", r".*\b(AnyTrainer|Callback|Case|Clock|Outlook|Source|Reaction|Line)"),
]

html_theme = "furo"
html_title = "lr_recipes"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_additional_pages = {"index": "start.html"}
templates_path = ["templates"]
html_show_copyright = html_show_sphinx = False
html_copy_source = False


class Printed(Directive):
    """What a program prints: ``.. printed:: lr-recipes --help``; run in the repository."""

    required_arguments, final_argument_whitespace = 1, True

    def run(self) -> list[nodes.Node]:
        program, *arguments = self.arguments[0].split()
        start = {"lr-recipes": ["-m", "lr_recipes.command_line"], "train.py": ["train.py"]}[program]
        command = [sys.executable, *start, *arguments]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return [nodes.literal_block(said.stdout, said.stdout.rstrip(), language="none")]


def add_menu(app: Sphinx, page: str, source: list[str]) -> None:
    """Hang every page below the first one: in the order of docs/index.md, then what it does not link to."""
    if page != root_doc:
        return
    contents = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = {root_doc}
    for section in contents.split("\n## ")[1:]:
        caption = section.partition("\n")[0]
        pages = [(title, _page_of(link)) for title, link in re.findall(r"^- \[(.+?)\]\((.+?)\)", section, re.MULTILINE)]
        linked |= {name for _, name in pages}
        source[0] += _menu(caption, [f"{title} </{name}>" for title, name in pages if name != root_doc])
    source[0] += _menu("More", [f"/{name}" for name in sorted(app.project.docnames - linked)])


def _page_of(link: str) -> str:
    path = (ROOT / "docs" / link).resolve()
    return path.relative_to(ROOT).with_suffix("").as_posix()


def _menu(caption: str, lines: list[str]) -> str:
    return "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *lines, "```", ""])


def leave_out_hooks(app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Lightning calls them; nobody else does."""
    return True if hasattr(Callback, name) else None


def setup(app: Sphinx) -> None:
    app.add_directive("printed", Printed)
    app.connect("source-read", add_menu)
    app.connect("autodoc-skip-member", leave_out_hooks)
