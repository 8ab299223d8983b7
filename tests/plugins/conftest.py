"""A data directory for plugins."""

from pathlib import Path

import pytest

from tests.plugins.plugin_fixture import PluginFolder


@pytest.fixture
def plugins(tmp_path: Path) -> PluginFolder:
    return PluginFolder(tmp_path)
