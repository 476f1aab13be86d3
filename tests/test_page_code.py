"""What the pages show is run: their fenced blocks and typed lines, here or where it is said that they are."""

from __future__ import annotations

import importlib.util
import math
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.fabric import Fabric
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI
from omegaconf import OmegaConf
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader

from lr_recipes import Horizon, LearningRateLogger, LearningRateScheduler, lr_scheduler, preview, schedules
from lr_recipes.command_line import main
from lr_recipes.optimizer.groups import read_lrs
from lr_recipes.plan.built import Built
from recipes.app import config
from recipes.app.preview import previews_of
from tests.adapters import trainers

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("[!.]*/README.md")])
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
# Who runs the fenced blocks of a page.
RUN_BY = {
    "README.md": "test_readme.py",
    "docs/accelerate.md": "test_page_code.py",
    "docs/audit.md": "test_page_code.py",
    "docs/by_path.md": "test_lr_scheduler.py",
    "docs/coming_from.md": "benchmarks/test_parity.py",
    "docs/fabric.md": "test_page_code.py",
    "docs/forecast.md": "benchmarks/test_forecast_pages.py",
    "docs/groups.md": "test_page_code.py",
    "docs/hydra.md": "test_page_code.py",
    "docs/lengths.md": "test_page_code.py",
    "docs/lightning_cli.md": "callbacks/test_lightning_cli.py",
    "docs/own_schedule.md": "schedules/test_own.py",
    "docs/plain_loop.md": "test_page_code.py",
    "docs/range_test.md": "test_page_code.py",
    "docs/seeing.md": "benchmarks/test_seeing_page.py",
    "docs/transformers.md": "test_page_code.py",
}


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text_of(page), flags=re.DOTALL)


def typed(page: str, program: str) -> list[list[str]]:
    """What is typed after the name of a program, in indented blocks."""
    joined = text_of(page).replace("\\\n", " ")
    return [shlex.split(one, comments=True) for one in re.findall(rf"^ {{4}}(?:\$ )?{program} (.*)$", joined, re.M)]


def test_somebody_runs_the_blocks_of_every_page() -> None:
    fenced = {page for page in NAMES if "```" in text_of(page)}
    assert fenced == set(RUN_BY)
    for page, test in RUN_BY.items():
        code = (ROOT / "tests" / test).read_text(encoding="utf-8")
        assert Path(page).name in code or "import PAGE" in code, f"{test} does not read {page}"
        assert set(re.findall(r"^```(\w*)$", text_of(page), re.M)) - {""} <= {"python", "yaml"}, page


@pytest.mark.parametrize("page", NAMES)
def test_every_program_and_module_that_is_typed_is_there(page: str) -> None:
    text = text_of(page)
    modules = re.findall(r"python -m ((?:benchmarks|recipes|tests|lr_recipes)[\w.]*)", text)
    assert [one for one in modules if importlib.util.find_spec(one) is None] == []
    files = re.findall(r"^ {4}(?:\w+=\S+ )?python (?!-|train\.py|main\.py)(\S+)", text, re.M)
    assert [one for one in files if not (ROOT / one).is_file() and not (ROOT / page).with_name(one).is_file()] == []
    settings = re.findall(r'ARGS=[\'"]?(--[\w-]+)', text)
    assert set(settings) <= {"--tests", "--quick", "--only", "--floors"}


PREVIEWS = [words for page in NAMES for words in re.findall(r"`lr-recipes (preview schedule=[^`]+)`", text_of(page))]


@pytest.mark.parametrize("words", sorted(set(PREVIEWS)))
def test_previews_are_printed(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(words)) == 0
    assert "Learning-rate plan" in capsys.readouterr().out


# A loop of one's own, Accelerate, Fabric, transformers


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def parts(optimizer: Optimizer | None = None) -> dict[str, Any]:
    """What stands in the reader's own program already: 3 epochs of 4 updates."""
    net = torch.nn.Linear(1, 1)
    return {
        "math": math,
        "torch": torch,
        "model": net,
        "optimizer": optimizer or SGD(net.parameters(), lr=0.1),
        "loader": DataLoader(torch.ones(8, 1), batch_size=1),
        "epochs": 3,
        "accumulated_batches": 2,
        "folder": Path("record"),
        "path": Path("last.pt"),
        "schedules": schedules,
    }


def updates(scope: dict[str, Any], count: int) -> list[float]:
    """Do so many, and return what they have used."""
    used: list[float] = []
    for _ in range(count):
        scope["model"](torch.ones(1, 1)).sum().backward()
        used += read_lrs(scope["optimizer"])
        scope["optimizer"].step()
    return used


def of_cosine(total: int) -> Any:
    curve = schedules.Cosine(warmup="5%").resolve(Horizon(total_steps=total))
    return pytest.approx([0.1 * curve(n) for n in range(total)], rel=1e-12)


def test_plain_loop() -> None:
    first, saving, seeing = blocks("docs/plain_loop.md")
    scope = parts()
    exec(first, scope)
    assert "...  # the loop\n" in seeing
    scope["loop"] = lambda: scope.update(used=updates(scope, 12))
    exec(seeing.replace("...  # the loop\n", "loop()\n"), scope)
    assert scope["used"] == of_cosine(12)
    assert scope["recording"].close() == "used = planned on 12 of 12 updates, schedule complete"
    exec(saving, scope)
    assert torch.load("last.pt", weights_only=True)["scheduler"] == scope["scheduler"].state_dict()


def test_lengths(capsys: pytest.CaptureFixture[str]) -> None:
    data, callback, totals, in_time = blocks("docs/lengths.md")
    scope = {**parts(), "LightningDataModule": LightningDataModule, "LearningRateScheduler": LearningRateScheduler}
    scope |= {
        "Trainer": Trainer,
        "LearningRateLogger": LearningRateLogger,
        "Horizon": Horizon,
        "lr_scheduler": lr_scheduler,
    }
    for block in (data, callback, totals):
        exec(block, scope)
    assert (scope["Texts"].tokens_per_sample, scope["callback"].tokens_per_sample) == (2048, 2048)
    exec(in_time.replace("max_time", 'accelerator="cpu", max_time'), scope)
    assert scope["callback"].progress == "time"
    (words,) = typed("docs/lengths.md", "lr-recipes")
    assert main(words) == 0
    assert "Learning-rate plan for cosine: 9,537 updates (10Btok)" in capsys.readouterr().out
    run = Horizon(total_steps=1000, steps_per_epoch=10, samples_per_step=8, tokens_per_sample=9)
    table = re.findall(r"^\| (`.*?) \| (.*?) \|", text_of("docs/lengths.md"), re.M)
    lengths = re.findall(r'`"?([^"`]+)"?`', " ".join(map(" ".join, table)))
    times = [length for length in lengths if re.search(r"minutes|hours|\ds$|min$|h$|d$", length)]
    assert (len(lengths), len(times)) == (18, 6)
    assert all((Horizon(max_time="8h") if length in times else run).steps(length) for length in lengths)


def test_groups(capsys: pytest.CaptureFixture[str]) -> None:
    first, by_group, late = blocks("docs/groups.md")
    scope: dict[str, Any] = {"schedules": schedules, "preview": preview}
    exec(first, scope)
    printed = capsys.readouterr().out.rstrip().splitlines()
    assert "\n".join(f"    {line}".rstrip() for line in printed) in text_of("docs/groups.md")
    exec(by_group, scope)
    names = ["layers.0.decay", "layers.1.decay", "layers.2.decay", "head"]
    lrs = scope["fine_tuning"].plan(100, Built([1.0] * 4, names)).lrs(9)
    assert lrs == pytest.approx([0.5, 0.5, 1.0, 0.91])
    exec(late, scope)
    assert scope["unfreezing"].plan(100, [1.0, 1.0]).lrs(50) == pytest.approx([0.5263, 0.5], abs=1e-4)
    for words in typed("docs/groups.md", r"python train\.py"):
        assert previews_of(config.composed("output_dir=unused", *words))
    (block,) = blocks("docs/groups.md", "yaml")
    wanted = schedules.ByGroup(groups={"head": "warmup_linear", 0: schedules.Cosine(warmup="10%")}, default="fixed")
    assert instantiate(OmegaConf.create(block).schedule) == wanted


def test_accelerate() -> None:
    first, seeing = blocks("docs/accelerate.md")
    AcceleratorState._reset_state(True)
    scope = {**parts(), "accelerator": Accelerator(gradient_accumulation_steps=2, cpu=True)}
    exec(first, scope)
    scope["scheduler"] = scope["scheduler"].scheduler
    before, after = seeing.split("...\n")
    exec(before, scope)
    assert updates(scope, 12) == of_cosine(12)
    exec(after, scope)
    assert scope["recording"].close() == "used = planned on 12 of 12 updates, schedule complete"
    AcceleratorState._reset_state(True)


def test_fabric() -> None:
    first, saving = blocks("docs/fabric.md")
    scope = {**parts(), "fabric": Fabric(accelerator="cpu", devices=1)}
    exec(first, scope)
    used = updates(scope, 12)
    exec(saving, scope)
    assert [*used, *updates(scope, 12)] == of_cosine(24)


def test_transformers() -> None:
    adapted, bound, subclass = blocks("docs/transformers.md")
    trainer = trainers.new_trainer()
    scope = {
        "Trainer": trainers.Trainer,
        "args": trainer.args,
        "data": trainers.DATA,
        "torch": torch,
        "total_updates": 6,
        "schedules": schedules,
    }
    exec(adapted.replace("Trainer(model", "Trainer(model()"), {**scope, "model": trainers.Net})
    assert Path("out", "lr.csv").read_text().count("\n") == 7
    model = trainers.Net()
    exec(bound, own := {**scope, "model": model})
    own["trainer"].train()
    assert own["scheduler"].position == 6
    exec(subclass, own)
    assert own["MyTrainer"](trainers.Net(), trainer.args, train_dataset=trainers.DATA).train().global_step == 6


# Hydra, records, the range test


def test_hydra() -> None:
    pytest.importorskip("lr_recipes.conf", reason="the package is not installed: no application sees its groups")
    ours, beside, scheduler = blocks("docs/hydra.md", "yaml")
    configs = Path.cwd() / "conf"
    (configs / "callbacks").mkdir(parents=True)
    (configs / "callbacks" / "default.yaml").write_text("timer: {_target_: lightning.pytorch.callbacks.Timer}\n")
    (configs / "ours.yaml").write_text(f"{ours}optimizer: {{lr: 0.1}}\n")
    (configs / "beside.yaml").write_text(f"{beside}schedule: daily\n")
    words = [word for word in typed("docs/hydra.md", r"python main\.py")[0] if word != "--help"]
    with initialize_config_dir(str(configs), version_base="1.3"):
        chosen = compose("ours", words)
        other = compose("beside")
    assert instantiate(chosen.callbacks.learning_rate_scheduler).schedule == schedules.OneCycle(warmup="1 epoch")
    assert chosen.optimizer.lr == 0.01
    assert (other.schedule, list(other.callbacks)) == ("daily", ["timer", "learning_rate_scheduler"])
    made = instantiate(other.callbacks.learning_rate_scheduler)
    assert isinstance(made, LearningRateScheduler)
    assert made.schedule == schedules.Cosine(warmup="5%")
    partial = instantiate(OmegaConf.create(yaml.safe_load(scheduler)["scheduler"]))
    assert partial(parts()["optimizer"], total_steps=100).get_last_lr() == [pytest.approx(0.1 / 5)]


@pytest.mark.filterwarnings("default")
def test_audit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("docs/audit.md")
    exec(code.replace("Trainer(", "Trainer(accelerator='cpu', enable_progress_bar=False, ", 1), {"__name__": "page"})
    recorded = Path.cwd()
    joined = text_of("docs/audit.md")
    against = re.findall(r"`lr-recipes (audit [^`]*)`", joined)
    lines = [words for words in typed("docs/audit.md", "lr-recipes") if words[1] != "FILE"]
    assert len(lines) + len(against) == 3
    for words in [*lines, *map(shlex.split, against)]:
        capsys.readouterr()
        monkeypatch.chdir(ROOT if words[1].startswith("tests/") else recorded)
        main(words)
        printed = capsys.readouterr().out.splitlines()
        ends = [index for index, line in enumerate(printed) if line.startswith("Learning-rate plan")]
        tail = printed[ends[0] if ends else 0 :]  # against a schedule, the page shows the end
        assert "".join(f"    {line}\n" if line else "\n" for line in tail) in joined


def test_range_test() -> None:
    class Square(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.Parameter(torch.ones(4))

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            return (self.weights * batch).square().mean()

        def configure_optimizers(self) -> Optimizer:
            return SGD(self.parameters(), lr=0.1)

    (code,) = blocks("docs/range_test.md")
    scope = {"model": Square(), "data": DataLoader(torch.ones(8, 4)), "Trainer": Trainer}
    exec(code.replace('accelerator="gpu"', 'accelerator="cpu"'), scope)
    assert Path("range_test.png").is_file()
    assert scope["result"].suggestion > 0
    assert {type(one) for one in scope["callbacks"]} <= {type(one) for one in scope["trainer"].callbacks}


# LightningCLI, of the page on dotted paths


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("words", typed("docs/by_path.md", r"python main\.py"), ids=" ".join)
def test_by_path(words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Net(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            return self.layer(batch).mean()

        def train_dataloader(self) -> Any:
            return DataLoader(torch.ones(4, 1))

    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    monkeypatch.setattr(sys, "argv", ["main.py", *words])
    if ".help=" in " ".join(words):
        with pytest.raises(SystemExit):
            LightningCLI(Net)
        assert "min_lr_ratio" in capsys.readouterr().out
        return
    quiet = {"accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_checkpointing": False}
    made = LightningCLI(Net, trainer_defaults=quiet, save_config_callback=None)
    assert made.trainer.lr_scheduler_configs[0].scheduler.position == 4
