"""Lets every Hydra application beside us choose ``schedule=warmup_cosine``.

Hydra imports this module whenever any application of the environment starts, so it must stay cheap: no torch,
no lightning. ``hydra_plugins/`` has no ``__init__.py`` of its own: it is a namespace that all plugins share.
"""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class LrRecipesSearchPathPlugin(SearchPathPlugin):
    """Appends our config groups, so that files of the same name in the application itself win."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append(provider="lr_recipes", path="pkg://lr_recipes.conf")
