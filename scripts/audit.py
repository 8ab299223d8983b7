"""Checks the versions in constraints.txt against PyPI's advisories: `make audit`.

Exits with 0 only if every version was checked: an audit that did not happen is a failure, not a success.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "constraints.txt"
PIP_AUDIT = ROOT / ".venv" / "tools" / "bin" / "pip-audit"
OPTIONS = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json")
VULNERABLE, NOT_AUDITED = 1, 2


def main() -> int:
    done = subprocess.run([str(PIP_AUDIT), "--requirement", str(LOCK), *OPTIONS], capture_output=True, text=True)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        print(f"Not audited: pip-audit could not reach the advisories of PyPI or failed ({reason[:300]}).")
        return NOT_AUDITED
    lines, code = judge_report(report)
    print("\n".join(lines))
    return code


def judge_report(report: Mapping[str, Any]) -> tuple[list[str], int]:
    """The lines to print and the exit code for pip-audit's JSON report."""
    packages = report["dependencies"]
    skipped = [package for package in packages if "skip_reason" in package]
    lines = [
        f"{package['name']} {package['version']}: {issue['id']}, fixed in {', '.join(issue['fix_versions']) or 'none'}"
        for package in packages
        for issue in package.get("vulns", ())
    ]
    code = VULNERABLE if lines else 0
    if skipped or not packages:
        names = ", ".join(package["name"] for package in skipped[:5])
        lines.append(
            f"Not audited: {len(skipped)} of {len(packages)} packages ({names}{' ...' if len(skipped) > 5 else ''}). "
            "PyPI's advisories could not be read: repeat this where https://pypi.org/pypi is reachable."
        )
        code = code or NOT_AUDITED
    if not code:
        lines.append(f"No known vulnerabilities in {len(packages)} packages.")
    return lines, code


if __name__ == "__main__":
    sys.exit(main())
