"""The dashboard, the alert rules and docs/metrics.md name metrics that `/metrics` has."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from adapters.metrics.prometheus_metrics import PrometheusMetrics
from adapters.metrics.state_families import collect_state
from bot.ports import DeviceStatus, StorageState

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
ALERTS = (PROMETHEUS / "easel-alerts.yml").read_text(encoding="utf-8")
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "easel.json").read_text(encoding="utf-8"))
DOCS = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
NAME = re.compile(r"\b(?:easel|process)_[a-z_]+\b")
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
LABELS = {
    "command", "model", "platform", "outcome", "reason", "state", "device", "kind", "webhook", "method", "route",
    "status", "code", "version", "python", "instance", "le",
}  # fmt: skip


def exposed_text():
    state = collect_state({}, StorageState(), [DeviceStatus(device="cpu", state="ready", loaded=("paint",))])
    return (generate_latest(PrometheusMetrics().registry) + generate_latest(state)).decode()


FAMILIES = {family.name: family.type for family in text_string_to_metric_families(exposed_text())}
SAMPLES = {name + suffix for name, kind in FAMILIES.items() for suffix in SUFFIXES.get(kind, ("",))}


def expressions():
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield f"{panel['title']}: {target['legendFormat']}", target["expr"]
    for match in re.finditer(r"alert: (\w+)\n\s+expr: (?:\|\n((?:\s{10,}.*\n)+)|(.*)\n)", ALERTS):
        yield match[1], match[2] or match[3]


EXPRESSIONS = dict(expressions())


@pytest.mark.parametrize("title", EXPRESSIONS)
def test_each_expression_names_metrics_and_labels_that_exist(title):
    expression = EXPRESSIONS[title]
    labels = set(re.findall(r"([a-z_]+)(?:=~|!=|=)\"", expression))
    labels |= {one for group in re.findall(r"by \(([^)]*)\)", expression) for one in re.split(r",\s*", group)}
    named = set(NAME.findall(expression))

    assert named or "up{" in expression
    assert named <= SAMPLES
    assert labels - {"job"} <= LABELS


def test_legends_use_labels_that_exist():
    used = {label for title in EXPRESSIONS for label in re.findall(r"{{(\w+)}}", title)}

    assert used <= LABELS


def test_there_are_rules_for_what_ends_a_night():
    alerts = re.findall(r"alert: (\w+)", ALERTS)

    assert {"EaselQueueOld", "EaselDeviceDown", "EaselOutboxOld", "EaselDiskFull", "EaselBackupOld"} <= set(alerts)
    assert "EaselWorkerLost" in alerts
    assert len(alerts) == len(EXPRESSIONS.keys() & set(alerts))


def test_the_docs_list_each_metric_and_no_other():
    documented = {name for line in DOCS.splitlines() if line.startswith("| `easel_") for name in NAME.findall(line)}
    own = {f"{name}_total" if kind == "counter" else name for name, kind in FAMILIES.items() if name[:6] == "easel_"}

    assert documented == own


def test_each_metric_is_used_by_the_dashboard():
    used = {name for expression in EXPRESSIONS.values() for name in NAME.findall(expression)}
    shown = {name: {name + suffix for suffix in SUFFIXES.get(kind, ("",))} for name, kind in FAMILIES.items()}
    unused = {name for name, samples in shown.items() if name.startswith("easel_") and not samples & used}

    assert unused == {"easel_jobs"}  # its figures are those of the counters and of the queue


def test_panels_do_not_overlap():
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) <= 23
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")


def run_promtool(*arguments, **more):
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, cwd=PROMETHEUS, **more)


@promtool
@pytest.mark.process
def test_promtool_accepts_the_rules_and_they_fire_as_their_tests_say():
    assert "SUCCESS" in (checked := run_promtool("check", "rules", "easel-alerts.yml")).stdout, checked.stderr
    assert (tested := run_promtool("test", "rules", "easel-alerts.test.yml")).returncode == 0, tested.stderr


@promtool
@pytest.mark.process
def test_the_configuration_in_the_docs_is_one_for_prometheus(tmp_path):
    [config] = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(config)
    checked = run_promtool("check", "config", "--syntax-only", str(tmp_path / "prometheus.yml"))

    assert checked.returncode == 0, checked.stderr


@promtool
@pytest.mark.process
def test_promtool_finds_nothing_to_improve_in_the_metrics():
    checked = run_promtool("check", "metrics", input=exposed_text())

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@promtool
@pytest.mark.process
def test_promtool_parses_each_expression_of_the_dashboard(tmp_path):
    rules = [
        {"record": f"test:{number}", "expr": expression.replace("$__rate_interval", "5m").replace("$instance", ".*")}
        for number, expression in enumerate(EXPRESSIONS.values())
    ]
    path = tmp_path / "expressions.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    checked = run_promtool("check", "rules", str(path))

    assert "SUCCESS" in checked.stdout, checked.stderr
