"""What is written where: answers on stdout, one a line; all else on stderr."""

import json
import sys
from pathlib import Path


def tell(line: str) -> None:
    """Part of the answer."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def note(line: str) -> None:
    """Something beside the answer."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def tell_json(content: object) -> None:
    tell(json.dumps(content, ensure_ascii=False))


def never_fail_on_letters() -> None:
    """A terminal that cannot show a letter shows a question mark."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def program() -> str:
    """How the person called us, for sentences that tell what to type."""
    name = Path(sys.argv[0]).name
    return f"python {name}" if name.endswith(".py") else "easel"
