"""`python -m tests.fuzz`: attacks a served Easel part by part, prints what each part did, and fails on any fault.

A fault is an unhandled exception, an answer of 500 or above, or a broken promise of the part.
"""

import argparse
import asyncio
import random
import secrets
import sys
import tempfile
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path

from inference.images.service import ImageService
from tests.fuzz.access_matrix import check_access_matrix
from tests.fuzz.findings import Findings, Stopwatch, describe, run_part
from tests.fuzz.forged_chat import post_forged_updates, press_forged_buttons
from tests.fuzz.hostile_prompts import quote_hostile_prompts
from tests.fuzz.mutated_chat_events import dispatch_mutated_events, poll_mutated_updates
from tests.fuzz.mutated_images import upload_mutated_images
from tests.fuzz.program_bodies import post_program_bodies
from tests.fuzz.schema_attack import SCHEMATHESIS, attack_schema
from tests.fuzz.target import FuzzTarget, open_target

Part = Callable[[FuzzTarget, Findings], Coroutine[None, None, None]]
PARTS = (
    "matrix",
    "prompts",
    "images",
    "buttons",
    "webhooks",
    "gateway",
    "polling",
    "programs",
    "schema-person",
    "schema-admin",
)


def main() -> int:
    options = _parse()
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="easel-fuzz-") as folder:
        return asyncio.run(_run(options, seed, Path(folder)))


async def _run(options: argparse.Namespace, seed: int, data_dir: Path) -> int:
    has_faults = False
    async with open_target(data_dir, ImageService()) as target:
        for name in options.only or PARTS:
            watch = Stopwatch()
            findings = await run_part(target, _part(name, target, options, seed))
            print(describe(name, findings, watch.seconds), flush=True)
            for fault in findings.faults[: options.show]:
                print(f"  {fault}", flush=True)
            has_faults |= bool(findings.faults)
    return 1 if has_faults else 0


def _part(name: str, target: FuzzTarget, options: argparse.Namespace, seed: int) -> Part:
    rng = random.Random(seed)
    parts: dict[str, Part] = {
        "matrix": check_access_matrix,
        "prompts": partial(quote_hostile_prompts, count=options.prompts, rng=rng),
        "images": partial(upload_mutated_images, count=options.images, rng=rng),
        "buttons": partial(press_forged_buttons, count=options.forged, rng=rng),
        "webhooks": partial(post_forged_updates, count=options.forged, rng=rng),
        "gateway": partial(dispatch_mutated_events, count=options.events, rng=rng),
        "polling": partial(poll_mutated_updates, count=options.events, rng=rng),
        "programs": partial(post_program_bodies, count=options.bodies, rng=rng),
        "schema-person": partial(attack_schema, key=target.ann, seconds=options.seconds, seed=seed),
        "schema-admin": partial(attack_schema, key=target.admin, seconds=options.seconds, seed=seed),
    }
    return parts[name]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=300, help="of schemathesis, as a person and again as an admin")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--forged", type=int, default=200, help="buttons, and as many webhook bodies")
    parser.add_argument("--events", type=int, default=400, help="mutated events of each chat platform")
    parser.add_argument("--bodies", type=int, default=600, help="of other programs' APIs")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="only these parts")
    parser.add_argument("--seed", type=int, help="printed when not given")
    parser.add_argument("--show", type=int, default=20, help="faults printed for each part")
    options = parser.parse_args()
    wants_schema = any(name.startswith("schema") for name in options.only or PARTS)
    if wants_schema and not SCHEMATHESIS.exists():
        parser.error("schemathesis is not installed: run `make fuzz`, or `python scripts/install.py --tools fuzz`")
    return options


if __name__ == "__main__":
    sys.exit(main())
