"""The real program: what `--help` imports, how invalid settings are reported, how a signal ends it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adapters.cli import run_cli
from composition.local import Composition
from tests.fork_server import client

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch", "diffusers", "transformers", "sqlalchemy", "fastapi", "uvicorn", "pydantic", "httpx", "structlog", "PIL",
    "rich", "mcp",
)  # fmt: skip
COMMANDS: tuple[list[str], ...] = (
    [], ["serve"], ["imagine"], ["caption"], ["ask"], ["fetch"], ["doctor"],
    ["history"], ["show"], ["cancel"], ["export"], ["models"], ["models", "list"],
    ["keys"], ["keys", "create"], ["keys", "list"], ["keys", "revoke"], ["keys", "unlock"],
    ["people"], ["people", "list"], ["people", "block"], ["people", "unblock"],
    ["mcp"], ["db"], ["db", "upgrade"], ["db", "check"], ["db", "backup"], ["db", "restore"],
)  # fmt: skip


@pytest.fixture
def environ(tmp_path):
    return {**os.environ, "EASEL_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def easel(monkeypatch, capsys, environ):
    """The real composition in this process, so that a wrong setting does not cost the start of another one."""
    monkeypatch.setattr("sys.argv", ["easel"])

    def run_command(*words, **variables):
        for name, value in {**environ, **variables}.items():
            monkeypatch.setenv(name, value)
        code = run_cli(Composition(), words)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_command


def test_help_of_no_command_imports_anything_heavy(environ):
    """One process for all: a module imported by one command would be found by the next."""
    code = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
sys.argv = ["easel"]
from composition.local import Composition
from adapters.cli import run_cli
for words in {COMMANDS!r}:
    assert run_cli(Composition(), [*words, "--help"]) == 0, words
    print("HEAVY", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"^HEAVY.*", done.stdout, re.MULTILINE)) == {"HEAVY []"}
    assert not Path(environ["EASEL_DATA_DIR"]).exists()


def test_invalid_settings_are_one_line_each_with_the_allowed_values(easel, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "config.toml").write_text(
        "[quue]\nmax_running = 1\n\n[queue]\nmax_runing = 1\nlease_s = 'x'\n"
    )

    code, out, err = easel("keys", "list", EASEL_WEB__PORT="abc")

    assert (code, out) == (2, "")
    one, two, three, four = err.splitlines()
    assert "there is no section [quue]. Did you mean queue?" in one
    assert "queue has no key max_runing. Did you mean max_running?" in two
    assert "queue.lease_s is \u201cx\u201d, but must be a number of at least 5." in three
    assert "EASEL_WEB__PORT is \u201cabc\u201d, but must be a whole number" in four


def test_a_malformed_file_is_reported_with_the_line(easel, tmp_path):
    (tmp_path / "mine.toml").write_text("[web]\nport = \n")

    code, _, err = easel("keys", "list", "--config", str(tmp_path / "mine.toml"))

    assert code == 2
    assert "mine.toml: line 2" in err
    assert "Traceback" not in err


def test_a_data_directory_that_cannot_be_created_is_reported(easel, tmp_path):
    (tmp_path / "file").touch()

    code, out, err = easel("keys", "list", EASEL_DATA_DIR=str(tmp_path / "file" / "data"))

    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "EASEL_DATA_DIR" in err


def test_a_new_data_directory_is_for_its_owner_alone(environ, forks):
    done = client.run([str(ROOT / "main.py"), "models", "list"], forks, env=environ, cwd=ROOT, timeout=60)

    assert done.returncode == 0, done.stderr
    assert Path(environ["EASEL_DATA_DIR"]).stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_the_job_and_ends_the_command(environ, tmp_path, forks, number, code):
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
sys.argv = ["easel"]
from pathlib import Path
from adapters.cli import run_cli
from tests.cli.app_fixture import TestComposition
sys.exit(run_cli(TestComposition(Path({str(tmp_path)!r})), ["imagine", "slow", "--steps", "50"]))
"""
    written, said = tmp_path / "stdout", tmp_path / "stderr"
    with written.open("w") as output, said.open("w") as errors:
        process = client.start(["-c", program], forks, env=environ, output=output, errors=errors)
    try:
        while not re.search("^(Running|Step)", said.read_text(), re.MULTILINE):
            assert process.poll() is None, "the command ended"
            time.sleep(0.05)
        time.sleep(0.2)
        process.send_signal(number)
        process.wait(timeout=30)
    finally:
        process.kill()

    err = said.read_text()
    assert (process.returncode, written.read_text()) == (code, "")
    assert "Cancelling" in err
    assert "Traceback" not in err


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_reader_that_closes_the_pipe_is_no_error(environ, tmp_path):
    """`doctor` without torch; it prints more when `head` has ended."""
    program = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from adapters.cli import run_cli
from tests.cli.app_fixture import TestComposition
class SlowComposition(TestComposition):
    def probe_devices(self):
        time.sleep(0.3)
        return super().probe_devices()
sys.exit(run_cli(SlowComposition(Path({str(tmp_path)!r})), ["doctor"]))
"""
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        f"{sys.executable} {tmp_path / 'program.py'} | head -n 1",
        shell=True,
        env={**environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout == "programs\n"
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
