"""`make audit`: what its verdict is for each report of pip-audit."""

import subprocess
from types import SimpleNamespace

import pytest

from scripts import audit

SAFE = {"name": "a", "version": "1", "vulns": []}
VULNERABLE = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (3)"}


@pytest.mark.parametrize(
    ("packages", "code", "last"),
    [
        ([SAFE], 0, "No known vulnerabilities in 1 packages."),
        ([SAFE, VULNERABLE], 1, "b 2: PYSEC-1, fixed in 2.1"),
        ([SAFE, SKIPPED], 2, "Not audited: 1 of 2 packages (c)."),
        ([VULNERABLE, SKIPPED], 1, "Not audited: 1 of 2 packages (c)."),
        ([], 2, "Not audited: 0 of 0 packages ()."),
    ],
)
def test_only_an_audit_of_every_package_succeeds(packages, code, last):
    lines, verdict = audit.judge_report({"dependencies": packages})

    assert verdict == code
    assert lines[-1].startswith(last)


def test_unreachable_advisories_are_one_sentence_and_a_failure(monkeypatch, capsys):
    failed = SimpleNamespace(stdout="", stderr="Traceback ...\nrequests.exceptions.ConnectionError: pypi.org")
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: failed)

    assert audit.main() == audit.NOT_AUDITED
    assert capsys.readouterr().out == (
        "Not audited: pip-audit could not reach the advisories of PyPI or failed "
        "(requests.exceptions.ConnectionError: pypi.org).\n"
    )
