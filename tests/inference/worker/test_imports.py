"""What child processes and their parent import, in fresh interpreters."""

import subprocess
import sys

import pytest

from inference.ipc.environment import ROOT

pytestmark = pytest.mark.process

CHILD = """
import sys
from importlib import import_module

for name in sys.argv[1:]:
    import_module(name)
print(sorted({"structlog", "rich", "pygments", "torch"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "modules",
    [
        ("inference.worker", "inference.worker.loop", "inference.engine.base"),
        ("inference.images.worker",),
        ("inference.hub.worker", "inference.hub.listing", "inference.hub.transfer"),
        ("inference.hardware.probe",),
    ],
    ids=" ".join,
)
def test_a_child_starts_without_the_parents_logging_and_without_torch(modules):
    result = subprocess.run(
        [sys.executable, "-c", CHILD, *modules], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert result.stdout.strip() == "[]"


PARENT = """
import asyncio, sys
from tests.inference.support import collect, make_task, open_pool

async def main():
    async with open_pool() as pool:
        await collect(pool, make_task())

asyncio.run(main())
print([name for name in ("torch", "numpy", "PIL", "diffusers", "transformers") if name in sys.modules])
"""


def test_the_parent_process_imports_neither_torch_nor_pillow():
    result = subprocess.run(
        [sys.executable, "-c", PARENT], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert result.stdout.splitlines()[-1] == "[]"
