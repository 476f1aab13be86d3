"""Lets every Hydra application beside us choose ``schedule=warmup_cosine``.

Hydra imports this module whenever any application of the environment starts, so it must stay cheap: no torch,
no lightning. ``hydra_plugins/`` has no ``__init__.py`` of its own: it is a namespace that all plugins share.
"""

from __future__ import annotations

import builtins
import importlib.resources
import importlib.util
import inspect
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

# Group -> which of its files others see. The rest of conf/ is for our own train.py: another application that asks for
# `callbacks: default` means a file of its own, and is to hear that it has none.
SHARED = {"callbacks": "learning_rate_*.yaml", "schedule": "*.yaml"}


class LrRecipesSearchPathPlugin(SearchPathPlugin):
    """Brings what is shared."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append(provider="lr_recipes", path=f"{SharedConfigSource.scheme()}://lr_recipes.conf")


class SharedConfigSource(ConfigSource):
    """Of a package of configs, the files that ``SHARED`` names, as if there were no others.

    What the application has under the same name wins, wherever it has it. Hydra takes the first source that knows a
    name, and ``hydra.searchpath``, ``--config-dir`` and the ``ConfigStore`` come after what a plugin brings.
    """

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        # Who calls is the repository, which alone knows the other sources; it is collecting them.
        frame = inspect.currentframe()
        self._repository = frame.f_back.f_locals.get("self") if frame and frame.f_back else None

    @staticmethod
    def scheme() -> str:
        return "lr_recipes"

    def available(self) -> bool:
        # It is not where somebody works in a checkout that is not installed.
        return importlib.util.find_spec(self.path) is not None

    def is_group(self, config_path: str) -> bool:
        return self.available() and (config_path == "" or (config_path in SHARED and not self._is_a_value(config_path)))

    def is_config(self, config_path: str) -> bool:
        path = PurePosixPath(self._normalize_file_name(config_path))
        ours = path.stem in self._names(str(path.parent))
        return ours and not any(source.is_config(config_path) for source in self._others())

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

    def _others(self) -> Iterator[ConfigSource]:
        return (one for one in getattr(self._repository, "sources", ()) if one is not self and one.available())

    def _is_a_value(self, name: str) -> bool:
        """Whether the application has a value of that name, as in ``schedule: daily``, and chooses from no group."""
        mains = list(self._mains())
        entries = [entry for main in mains for entry in main.get("defaults") or () if isinstance(entry, dict)]
        groups = {str(key).split()[-1].lstrip("/").partition("@")[0] for entry in entries for key in entry}
        return name not in groups and any(isinstance(main.get(name), (str, int, float, list)) for main in mains)

    def _mains(self) -> Iterator[dict[Any, Any]]:
        """What the application can be started with, as plain values."""
        for source in self._others():
            for name in source.list("", ObjectType.CONFIG):
                try:
                    main = OmegaConf.to_container(source.load_config(name).config)
                except Exception:  # a draft that nobody has asked for must not end the application
                    continue
                if isinstance(main, dict):
                    yield main
