"""Beside torch and Lightning nothing need be there: what is absent is said in a sentence, and no run is lost by it."""

from __future__ import annotations

import html
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lr_recipes

ROOT = Path(__file__).parents[1]
START = "import json, sys, warnings; from tests.absent import without\n"
# With Lightning, and nothing that it does not bring itself.
BARE = """
import torch, lightning.pytorch as pl
from lightning.pytorch.demos.boring_classes import BoringModel
# Now, as Lightning uses some of them where they are installed, and asks that of pip's records.
without("hydra", "matplotlib", "omegaconf", "rich", "scipy", "tensorboard", "transformers", "wandb")
quiet = {"accelerator": "cpu", "max_epochs": 1, "limit_train_batches": 8, "limit_val_batches": 0, "logger": False,
         "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
before = {name.partition(".")[0] for name in sys.modules}
import lr_recipes
from lr_recipes import *
brought = {name.partition(".")[0] for name in sys.modules} - before - {*sys.stdlib_module_names, "lr_recipes"}
from lr_recipes.command_line import main

class Module(BoringModel):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

warned = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    test = LearningRateRangeTest(num_training_steps=10, dirpath=".", apply=False)
    callbacks = [LearningRateScheduler(schedules.Cosine(warmup=4)), LearningRateLogger(dirpath="."), test]
    pl.Trainer(callbacks=callbacks, **quiet).fit(Module())
shown = preview(schedules.Cosine(), 100)
try:
    shown.plot()
except ImportError as error:
    refused = str(error)
found = {
    "brought": sorted(brought),
    "warned": [str(one.message) for one in caught],
    "table": str(shown),
    "html": [one._repr_html_() for one in (shown, shown.curve, schedules.Cosine())],
    "refused": refused,
    "status": [main(["preview", "schedule=warmup_cosine", "schedule.min_lr_ratio=1e-3", "total_steps=1e4", *more])
               for more in ([], ["picture=a.png"])],
}
"""
# With torch alone.
NO_LIGHTNING = """
without("hydra", "lightning", "omegaconf", "pytorch_lightning", "tqdm")
import lr_recipes
from lr_recipes import schedules
from lr_recipes.command_line import main

def refused(name):
    try:
        getattr(lr_recipes, name)
    except ImportError as error:
        return str(error)

found = {name: refused(name) for name in lr_recipes.__all__}
import torch
optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
bound = schedules.Linear().bind(optimizer, 4)
found["lrs"] = []
for _ in range(4):
    found["lrs"].append(optimizer.param_groups[0]["lr"])
    optimizer.step()
    bound.step()
found["status"] = main(["preview", "schedule=one_cycle", "total_steps=100"])
without()
sys.path.insert(0, sys.argv[1])
found["malicious"] = refused("LearningRateLogger")
found["harmed"] = "lightning" in sys.modules
"""


def said(script: str, folder: Path, *arguments: object) -> tuple[dict[str, Any], str]:
    """What a script found out in a process of its own, and its stderr."""
    done = subprocess.run(
        [sys.executable, "-c", f"{START}{script}\nprint(json.dumps(found))", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found, done.stderr


def test_callbacks_need_torch_and_lightning_alone(tmp_path: Path) -> None:
    found, stderr = said(BARE, tmp_path)
    assert found["brought"] == []
    needs = "a picture needs matplotlib, which is not there (No module named 'matplotlib'): pip install matplotlib"
    assert [text for text in found["warned"] if "matplotlib" in text] == [
        f"the range test is not drawn as range_test.png: {needs}",
        f"the record is not drawn as lr.png: {needs}, or give plot=False",
    ]
    # Nothing else is lost.
    assert len((tmp_path / "lr.csv").read_text().splitlines()) == 9
    assert (tmp_path / "range_test.csv").exists()
    assert (tmp_path / "range_test.json").exists()
    assert "used = planned" in stderr
    assert "100 updates" in found["table"]
    assert found["refused"] == needs
    for shown in found["html"]:
        assert shown.startswith("<pre")
        assert shown.endswith(f"<p>{html.escape(needs)}</p>")
    assert found["status"] == [0, 2]
    assert stderr.splitlines()[-1] == f"Error: {needs}"


def test_the_program_says_what_to_install(tmp_path: Path) -> None:
    script = f"without('hydra')\nimport runpy; runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", START + script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr == "Error: hydra is not there: pip install '.[recipes]', in the folder of train.py\n"


def test_without_lightning_the_callbacks_say_what_to_install_and_the_rest_works(tmp_path: Path) -> None:
    # As if it were installed: importing it would end the process.
    site = tmp_path / "site"
    harm, package = site / "lightning", site / "lightning-2.6.3.dist-info"
    for folder in (harm, package):
        folder.mkdir(parents=True)
    (harm / "__init__.py").write_text("raise SystemExit('harm')\n")
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: lightning\nVersion: 2.6.3\n")
    found, _ = said(NO_LIGHTNING, tmp_path, site)
    without_it = ("Horizon", "lr_scheduler", "preview", "schedules")
    for name in lr_recipes.__all__:
        if name in without_it:
            assert found[name] is None
        else:
            assert "neither lightning nor pytorch_lightning is installed: pip install" in found[name]
    assert found["lrs"] == pytest.approx([0.1, 0.075, 0.05, 0.025])
    assert found["status"] == 0
    assert found["malicious"].startswith("lightning 2.6.3 is a malicious release")
    assert "pip install 'lightning!=2.6.2,!=2.6.3'" in found["malicious"]
    assert not found["harmed"]
