"""Reference models, a module each, and what they share."""
