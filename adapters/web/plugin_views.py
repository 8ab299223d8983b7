"""Plugins as JSON, and their values as Prometheus metrics."""

from collections.abc import Iterable
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from bot.plugins.hook_values import Panel
from bot.plugins.plugin_commands import OwnCommand


def panel_json(plugin: str, panel: Panel) -> dict[str, Any]:
    """Plain text, each part of a limited length."""
    return {
        "plugin": plugin,
        "title": panel.title,
        "text": panel.text,
        "rows": [list(row) for row in panel.rows],
        "for_admins": panel.for_admins,
    }


def plugin_command_json(command: OwnCommand) -> dict[str, Any]:
    """Like that of other commands, with the `plugin` that it belongs to. Which models it uses is not known before."""
    declared = command.declared
    return {
        "name": command.name,
        "summary": declared.summary,
        "answers": declared.answers,
        "plugin": command.plugin,
        "images": {"needed": 0, "allowed": declared.images, "roles": [], "limits": {}, "kinds": {}},
        "tasks": [],
        "models": [],
        "options": [spec.describe() for spec in command.specs],
    }


def plugin_families(values: Iterable[tuple[str, str, float]]) -> list[Metric]:
    """Gauges of (plugin, name, value)."""
    families: list[Metric] = []
    for plugin, name, value in values:
        family = GaugeMetricFamily(
            f"easel_plugin_{plugin.replace('-', '_')}_{name}", f"{name} of the plugin {plugin}, as it says"
        )
        family.add_metric([], value)
        families.append(family)
    return families
