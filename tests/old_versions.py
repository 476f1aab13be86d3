"""What the lowest versions that are admitted cannot do by themselves: `make test-oldest` leaves out these tests."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version

import pytest
from packaging.version import Version

# Package, the version that can, why -> tests, by how their names begin after `tests/`; or examples of a module.
LEFT_OUT = {
    ("jsonargparse", "4.44", "it does not say in a sentence which option it does not know"): [
        "callbacks/test_lightning_cli.py::test_what_is_misspelt_is_refused_by_the_parser[a knob]",
    ],
    ("torch", "2.7", "its SGD takes no LR of shape (1,)"): ["optimizer/test_follow.py::test_tensor_lr_keeps_its_type"],
    ("torch", "2.7", "its SWALR does not save the strategy"): [
        "report/test_checkpoint.py::test_stochastic_weight_averaging",
        "report/test_saved_scheduler.py::test_each_scheduler_of_torch_is_known_by_what_it_saves[SWALR]",
    ],
    ("torch", "2.9", "it has no Muon"): [
        "test_examples.py::test_a_script_does_what_it_says[python_muon_and_adamw",
        "callbacks/test_averaging.py::test_muon_beside_adamw",
        "callbacks/test_averaging.py::test_an_average_counts_the_steps_of_all",
        "callbacks/test_by_group.py::test_one_schedule_by_group_over_two_optimizers",
        "callbacks/test_by_group.py::test_by_group_within_a_mapping_of_optimizers",
        "callbacks/test_by_group.py::test_a_name_that_no_optimizer_has_is_refused",
        "recipes/models/test_muon.py::",
        "recipes/models/muon.py::",
        "test_conf.py::test_every_file_composes_and_passes_the_checks[optimizer-muon]",
    ],
    ("torch", "2.7", "it does not tell the order of its attention kernels"): [
        "recipes/models/test_attention.py::test_torch_goes_by_the_order_while_it_is_asked_to",
    ],
    ("torch", "2.7", "its refusal of code has other words"): [
        "report/test_checkpoint_file.py::test_what_cannot_be_read_costs_one_sentence[code of the system]",
    ],
    ("torch", "2.7", "its ChainedScheduler takes no epoch"): [
        "foretold/test_random_setups.py::test_the_forecast_of_a_random_set_up_is_what_plain_lightning_does[2]",
    ],
    ("torch", "2.7", "it writes the type of an LR in another way"): [
        "recipes/app/test_validation.py::test_a_wrong_key_or_value_is_refused_before_anything_is_built[overrides17",
    ],
}


def leave_out(items: Iterable[pytest.Item]) -> None:
    """Skip those that what is installed cannot do."""
    begins = {
        test: f"{package} {version(package)}: {why}"
        for (package, able, why), tests in LEFT_OUT.items()
        if Version(version(package)) < Version(able)
        for test in tests
    }
    for item in items:
        for test, why in begins.items():
            if item.nodeid.removeprefix("tests/").startswith(test):
                item.add_marker(pytest.mark.skip(reason=why))
