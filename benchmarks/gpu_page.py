"""Writes what `make gpu` has found into docs/speed.md: `python -m benchmarks.gpu_page`.

The result files are in benchmarks/gpu_results, one a part; those of another device, or of other versions, have tables
of their own.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_notes import failures

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "gpu_results"
PAGE = ROOT / "docs" / "speed.md"
NONE_YET = "**No figure of a GPU stands here yet: the command has only been run with `--device cpu`, to try it out.**"
PRODUCTS, MEMORY = "bfloat16 products", "memory"
BY_SHEET = ", data sheet"
BAR = "\\|"  # within a cell
HEADS = (
    "model, and what an update takes",
    "least ms by arithmetic",
    "by bytes",
    "plain loop (ms)",
    "Lightning and ours (ms)",
    "floor / ours",
    "MFU",
    "rate",
    "share of plain",
    "goal",
    "attention",
    "GB",
)
_SECTION = re.compile(r"(?<=<!-- figures of a GPU -->\n\n).*?(?=\n<!-- end of the figures -->)", re.DOTALL)


def report(folder: Path) -> str:
    """Return what the result files of a folder say, as Markdown: tables for each device and versions."""
    groups: dict[str, list[dict[str, Any]]] = {}
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    for content in sorted(found, key=lambda content: content["begun"]):
        groups.setdefault(json.dumps(content["setup"]), []).append(content)
    return "\n".join(line for setup, parts in groups.items() for line in _lines(json.loads(setup), parts))


def _lines(setup: Mapping[str, str], parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    device, versions = setup["device"], ", ".join(f"{name} {setup[name]}" for name in setup if name != "device")
    figures = {one["name"]: one for part in parts for one in part["figures"]}
    day = time.strftime("%Y-%m-%d", time.gmtime(parts[0]["begun"]))
    yield f"{device} ({versions}), {day}:\n"
    cases = [case for part in parts for case in part["cases"]]
    if cases:
        known = {name: one["value"] for name, one in figures.items()}
        yield from _table(HEADS, [row_of(case, known) for case in cases])
    if figures:
        cells = [[name, f"{one['value']:,.4g}", one["unit"]] for name, one in figures.items()]
        yield from _table(("measured, or by the data sheet", "", "unit"), cells)
    checks = [check for part in parts for check in part["checks"]]
    if checks:
        cells = [[one["name"], one["words"] + ("" if one["passed"] else " **FAILED**")] for one in checks]
        yield from _table(("check", "found"), cells)
    failed = sum(len(failures(part)) for part in parts)
    unfinished = [part["part"] for part in parts if not part["ended"]]
    yield f"{len(checks) - failed} of {len(checks)} checks passed, in {sum(part['seconds'] for part in parts):.0f} s."
    if unfinished:
        yield f"Broken off: {', '.join(unfinished)}."
    yield ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', BAR) for cell in row)} |"
    yield ""


def row_of(case: Mapping[str, Any], rates: Mapping[str, float]) -> list[str]:
    """Return the cells of a case below `HEADS`.

    Args:
        case: as the bench keeps it.
        rates: what the device can do, by name; what is missing leaves its cells empty.
    """
    seconds = case["lightning_seconds"]
    needs = {PRODUCTS: case["flops"], MEMORY: case["bytes"]}
    least = [need / rates[name] if name in rates else None for name, need in needs.items()]
    known = [one for one in least if one is not None]
    nominal = rates.get(PRODUCTS + BY_SHEET)
    return [
        case["name"],
        *("-" if one is None else f"{1e3 * one:.3g}" for one in least),
        f"{1e3 * case['plain_seconds']:.3g}",
        f"{1e3 * seconds:.3g}",
        f"{max(known) / seconds:.0%}" if known else "-",
        "-" if nominal is None else f"{case['flops'] / seconds / nominal:.1%}",
        f"{case['rate']:,.0f} {case['unit']}",
        f"{case['share']:.3f}",
        "-" if case["goal"] is None else f"{case['goal']:g}",
        case["attention"] or "-",
        f"{case['memory'] / 1e9:.1f}",
    ]


def written(page: str, folder: Path = RESULTS) -> str:
    """Return the page with the figures of a folder, or with the words that there are none."""
    figures = report(folder) or f"{NONE_YET}\n"
    return _SECTION.sub(lambda found: figures, page)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
