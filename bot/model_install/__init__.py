"""Installs a model: download, smoke test, the owner's config file."""
