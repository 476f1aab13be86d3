"""Lets every Hydra application beside us choose ``schedule=warmup_cosine``.

Hydra imports this module whenever any application of the environment starts, so it must stay cheap: no torch,
no lightning. ``hydra_plugins/`` has no ``__init__.py`` of its own: it is a namespace that all plugins share.
"""

from __future__ import annotations

import builtins
import importlib.resources
import importlib.util
from fnmatch import fnmatch
from pathlib import PurePosixPath

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

# Group -> which of its files others see. The rest of conf/ is for our own train.py: another application that asks for
# `callbacks: default` means a file of its own, and is to hear that it has none.
SHARED = {"callbacks": "learning_rate_*.yaml", "schedule": "*.yaml"}


class LrRecipesSearchPathPlugin(SearchPathPlugin):
    """Appends what is shared, so that files of the same name in the application itself win."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append(provider="lr_recipes", path=f"{SharedConfigSource.scheme()}://lr_recipes.conf")


class SharedConfigSource(ConfigSource):
    """Of a package of configs, the files that ``SHARED`` names, as if there were no others."""

    @staticmethod
    def scheme() -> str:
        return "lr_recipes"

    def available(self) -> bool:
        # It is not where somebody works in a checkout that is not installed.
        return importlib.util.find_spec(self.path) is not None

    def is_group(self, config_path: str) -> bool:
        return self.available() and config_path in ("", *SHARED)

    def is_config(self, config_path: str) -> bool:
        path = PurePosixPath(self._normalize_file_name(config_path))
        return path.stem in self._names(str(path.parent))

    def list(self, config_path: str, results_filter: ObjectType | None) -> builtins.list[str]:
        groups = [] if config_path or results_filter == ObjectType.CONFIG else sorted(SHARED)
        return groups + ([] if results_filter == ObjectType.GROUP else self._names(config_path))

    def load_config(self, config_path: str) -> ConfigResult:
        if not self.is_config(config_path):
            raise ConfigLoadError(f"Config not found : {config_path}")
        file = importlib.resources.files(self.path) / self._normalize_file_name(config_path)
        text = file.read_text(encoding="utf-8")
        return ConfigResult(self.provider, self.full_path(), OmegaConf.create(text), self._get_header_dict(text))

    def _names(self, group: str) -> builtins.list[str]:
        """The shared configs of a group, without their extension."""
        if group not in SHARED or not self.available():
            return []
        files = (importlib.resources.files(self.path) / group).iterdir()
        return sorted(PurePosixPath(file.name).stem for file in files if fnmatch(file.name, SHARED[group]))
