"""Code that took over a decoder reaches nothing, and each measure does its part without the others."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from inference.images.service import ImageService
from inference.ipc import seccomp
from inference.ipc.environment import ROOT
from inference.ipc.image_messages import SanitizeRequest
from inference.ipc.process import ChildProcess
from tests.inference.images.test_service import gradient
from tests.inference.intruder import Targets, list_attempts, to_upload
from tests.inference.support import child_pid, open_pool, png, wait_until

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux can confine a process in this way"),
]

FILES = {"read secrets.env", "list the data directory", "read the server's environment", "write a large file"}
CHANGES = {"make a link", "delete secrets.env"}
SOCKETS = {"open a socket", "open a datagram socket", "open a local socket"}
PROCESSES = {"fork", "start a program", "start a thread"}


@pytest.fixture
def targets(tmp_path):
    (tmp_path / "secrets.env").write_text("DISCORD_TOKEN=secret\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Targets(str(tmp_path), server.getsockname()[1], os.getpid())


def run_module(*arguments: str) -> dict[str, str]:
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, check=True, timeout=60)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def missing():
    """The measures that this machine lacks, with the reasons."""
    return {name: reason for name, reason in run_module("inference.ipc.sandbox").items() if reason}


def outcomes_with(measures: str, targets: Targets) -> dict[str, str]:
    return run_module("tests.inference.intruder", "--only", measures, to_upload(targets).decode())


def read_thread_statuses(pid: int) -> list[dict[str, str]]:
    texts = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return [dict(line.split(":", 1) for line in text.splitlines()) for text in texts]


@pytest.mark.parametrize(("decoders", "allowed"), [("_decoders", []), ("_heic_decoders", ["start a thread"])])
async def test_code_inside_a_decoder_reaches_no_file_network_or_process(
    targets, missing, monkeypatch, decoders, allowed
):
    if "seccomp" in missing:
        pytest.skip(f"this kernel cannot filter system calls: {missing['seccomp']}")
    start = ChildProcess.start
    monkeypatch.setattr(
        ChildProcess, "start", lambda name, _, *arguments, threads: start(name, "tests.inference.intruder", *arguments)
    )

    async with ImageService() as service:
        request = SanitizeRequest(data=to_upload(targets), max_pixels=1)
        outcomes = dict((await getattr(service, decoders).request(request)).parameters or {})

    assert set(outcomes) == set(list_attempts(targets))
    assert [name for name, failure in outcomes.items() if not failure] == allowed
    assert set(outcomes.values()) <= {"", "PermissionError", "OSError", "RuntimeError"}  # by the system
    assert os.listdir(targets.data_dir) == ["secrets.env"]


def test_without_a_sandbox_all_of_it_works(targets):
    outcomes = outcomes_with("", targets)

    failed = {name for name, failure in outcomes.items() if failure}
    assert failed <= {"use io_uring"}  # some systems switch it off for all
    assert not (Path(targets.data_dir) / "secrets.env").exists()


@pytest.mark.parametrize(
    ("measures", "refused"),
    [
        ("no_new_privs,landlock", FILES | CHANGES | {"open a socket"}),
        ("no_new_privs,seccomp", FILES | CHANGES | SOCKETS | PROCESSES | {"signal the server", "change a mode"}),
        ("limits", FILES | SOCKETS | {"grow an open file"}),
    ],
)
def test_each_measure_does_its_part_without_the_others(targets, missing, measures, refused):
    lacking = [f"{name} ({missing[name]})" for name in measures.split(",") if name in missing]
    if lacking:
        pytest.skip(f"this kernel lacks {', '.join(lacking)}")

    outcomes = outcomes_with(measures, targets)

    assert {name for name in refused if not outcomes[name]} == set()


async def test_the_download_worker_gets_no_new_privileges():
    child = await ChildProcess.start("downloads", "inference.hub.worker")
    try:
        await wait_until(lambda: read_thread_statuses(child.pid)[0]["NoNewPrivs"].strip() == "1")
    finally:
        await child.close()


def test_a_hardened_process_hides_its_environment_from_others_of_the_same_user():
    get_dumpable = 3
    program = (
        "import ctypes; from inference.ipc import sandbox; sandbox.harden();"
        f"print(ctypes.CDLL(None).prctl({get_dumpable}, 0, 0, 0, 0))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, timeout=60)

    assert done.stdout.strip() == b"0"


async def test_a_worker_on_the_processor_gets_no_new_privileges():
    async with open_pool() as pool:
        statuses = read_thread_statuses(child_pid(pool))

    assert statuses[0]["NoNewPrivs"].strip() == "1"


async def test_no_thread_of_the_image_worker_escapes():
    async with ImageService() as service:
        await asyncio.gather(service.sanitize(png(gradient())), service.encode_image(b"\0" * 192, 8, 8))
        children = service._decoders._all | service._encoders._all
        statuses = [status for child in children for status in read_thread_statuses(child.pid)]
        open_files = [len(os.listdir(f"/proc/{child.pid}/fd")) for child in children]

    assert len(statuses) == len(children) == 2
    assert {status["NoNewPrivs"].strip() for status in statuses} == {"1"}
    assert {int(status["CapEff"], 16) for status in statuses} == {0}
    assert max(open_files) <= 5  # standard streams and the two pipes


def test_the_numbers_of_system_calls_differ_within_each_processor():
    for column, architecture, _ in seccomp._MACHINES.values():
        numbers = [pair[column] for pair in (seccomp._ALLOWED | seccomp._ALLOWED_ON_SELF).values()]

        assert len(set(numbers)) == len(numbers)
        assert len(seccomp.build_filter(column, architecture, 1, may_start_threads=True)) % 8 == 0
