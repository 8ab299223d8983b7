"""schemathesis against the served OpenAPI document, with every check, as one caller."""

import asyncio
import re
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

from tests.fuzz.findings import Findings
from tests.fuzz.target import FuzzTarget

SCHEMATHESIS = Path(__file__).resolve().parents[2] / ".venv" / "tools" / "bin" / "schemathesis"
GRACE_S = 120
EXCLUDED = ("positive_data_acceptance",)
"""What a command accepts depends on the installed models, so the schema cannot say it: `options` is any object."""

FORGETTING = "forget_me_api_v1_me_delete"
"""It would end the attack: afterwards the caller's key is unknown. `tests/web/test_leaving.py` tests it."""


async def attack_schema(target: FuzzTarget, findings: Findings, *, key: str, seconds: int, seed: int) -> None:
    arguments = (
        "run", f"{target.url}/openapi.json", "--header", f"Authorization: Bearer {key}",
        "--checks", "all", "--exclude-checks", ",".join(EXCLUDED),
        "--exclude-operation-id", FORGETTING,
        "--max-time", str(seconds), "--seed", str(seed), "--continue-on-failure", "--no-color",
        "--request-timeout", "30", "--generation-database", "none", "--warnings", "off",
    )  # fmt: skip
    process = await asyncio.create_subprocess_exec(str(SCHEMATHESIS), *arguments, stdout=PIPE, stderr=STDOUT)
    try:
        async with asyncio.timeout(seconds + GRACE_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        findings.faults.append(f"schemathesis did not end {GRACE_S} s after its time")
        return
    text = output.decode(errors="replace")
    generated = re.search(r"(\d+) generated", text)
    findings.cases = int(generated[1]) if generated else 0
    findings.statuses[f"exit code {process.returncode}"] += 1
    findings.expect(findings.cases > 0, "schemathesis generated nothing")
    if process.returncode:
        findings.faults.append(text[-20_000:])
