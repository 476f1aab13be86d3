"""Reference models and data, one subject a module; nothing in ``lr_recipes`` needs them."""
