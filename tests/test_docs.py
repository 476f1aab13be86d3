"""The site: built without a warning, with every page, every public name and all that its pages point to."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import lr_recipes
from lr_recipes import lr_scheduler, schedules

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/api/*.rst"), *ROOT.glob("[!.]*/README.md")]
PUBLIC = {f"{module.__name__}.{name}" for module in (lr_recipes, schedules, lr_scheduler) for name in module.__all__}
POINTS = re.compile(r'<(\w+)[^>]*?\s(?:href|src)="([^"]*)"')


def test_the_index_names_every_page() -> None:
    """And so the menu does, under a heading; what it forgets is under "More"."""
    folder = ROOT / "docs"
    named = re.findall(r"\]\((.+?)\)", (folder / "index.md").read_text(encoding="utf-8"))
    assert {folder / "index.md", *((folder / one).resolve() for one in named)} == set(PAGES)


def test_the_site_is_whole(tmp_path: Path) -> None:
    # In a process of its own: Sphinx evaluates annotations in the modules that it reads, and LightningCLI would see it.
    typed = ["sphinx", "-q", "--fail-on-warning", "--keep-going", "--conf-dir", "docs", ".", str(tmp_path)]
    built = subprocess.run([sys.executable, "-m", *typed], cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = {one.relative_to(tmp_path).as_posix(): one.read_text(encoding="utf-8") for one in tmp_path.rglob("*.html")}
    expected = {path.relative_to(ROOT).with_suffix(".html").as_posix() for path in PAGES}
    assert expected <= set(pages)

    first = pages["README.html"]
    in_menu = {target for _, target in POINTS.findall(first[first.index("sidebar-tree") :])}
    assert expected - in_menu == {"README.html"}  # where it is "#"

    everything = "".join(pages.values())
    described = set(re.findall(r'<dt class="sig[^>]* id="([\w.]+)"', everything))
    assert PUBLIC - described - set(re.findall(r'id="module-([\w.]+)"', everything)) == set()

    for page, text in pages.items():
        for tag, target in POINTS.findall(text):
            found = urlsplit(unescape(target))
            if found.scheme or found.netloc:
                assert tag == "a", f"{page} fetches {target}"
            elif found.path:
                assert (tmp_path / page).parent.joinpath(unquote(found.path)).exists(), f"{page}: {target}"
