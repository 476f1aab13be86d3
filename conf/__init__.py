"""The config tree, installed as ``lr_recipes.conf``; Hydra finds no ``pkg://`` path without this file."""
