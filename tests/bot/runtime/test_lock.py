"""The lock on a data directory, between real processes."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

import pytest

from bot.errors import StartupError
from bot.runtime.lock import DELEGATED_BY, FILE_NAME, DataLock, LockHolder, is_delegated, read_holder
from bot.runtime.update_journal import UpdateJournal, remove_journal, write_journal

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[3]


@contextmanager
def another_process(data_dir, then="publish_url('http://127.0.0.1:8000/')"):
    """(pid, secret, process) of a process that holds the lock until it is killed or its stdin ends."""
    code = f"""
        import sys
        from pathlib import Path
        from bot.runtime.lock import DataLock
        with DataLock(Path({str(data_dir)!r})) as lock:
            lock.{then}
            print(lock.secret, flush=True)
            sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process.pid, process.stdout.readline().strip(), process
        finally:
            process.stdin.close()


def test_a_second_process_is_refused_with_the_holder_named(tmp_path):
    with another_process(tmp_path) as (pid, _, _), pytest.raises(StartupError) as refused:
        DataLock(tmp_path).acquire()

    assert f"process {pid} at http://127.0.0.1:8000/" in refused.value.sentence
    assert str(tmp_path) in refused.value.sentence


def test_the_living_holder_can_be_read(tmp_path):
    with another_process(tmp_path) as (pid, secret, _):
        holder = read_holder(tmp_path)

    assert holder == LockHolder(pid, "http://127.0.0.1:8000/", secret)


def test_a_holder_without_a_page_has_no_address(tmp_path):
    with another_process(tmp_path, then="publish_url('')") as (pid, secret, _):
        assert read_holder(tmp_path) == LockHolder(pid, "", secret)
        with pytest.raises(StartupError, match=rf"\(process {pid}\)"):
            DataLock(tmp_path).acquire()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_what_a_killed_holder_left_behind_is_not_believed(tmp_path):
    with another_process(tmp_path) as (_, _, process):
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

        assert b"127.0.0.1" in (tmp_path / FILE_NAME).read_bytes()
        assert read_holder(tmp_path) is None
        with DataLock(tmp_path):
            assert read_holder(tmp_path).pid == os.getpid()


def test_a_lock_is_free_after_its_holder_left(tmp_path):
    with another_process(tmp_path) as (_, _, process):
        pass
    process.wait()

    assert read_holder(tmp_path) is None
    with DataLock(tmp_path):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="no modes there")
@pytest.mark.parametrize("mode_before", [None, 0o644, 0o666])
def test_only_its_owner_may_read_the_file(tmp_path, mode_before):
    path = tmp_path / FILE_NAME
    if mode_before is not None:
        path.touch()
        path.chmod(mode_before)

    with DataLock(tmp_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_secret_is_new_each_time_and_gone_after_release(tmp_path):
    with DataLock(tmp_path) as first:
        pass
    with DataLock(tmp_path) as second:
        pass

    assert first.secret != second.secret
    assert len(first.secret) >= 43
    assert (tmp_path / FILE_NAME).read_bytes() == b""


def test_a_shorter_address_leaves_nothing_of_a_longer_one(tmp_path):
    with DataLock(tmp_path) as lock:
        lock.publish_url("http://127.0.0.1:8000/a-long-way-down")
        lock.publish_url("http://127.0.0.1:1/")

        assert read_holder(tmp_path) == LockHolder(os.getpid(), "http://127.0.0.1:1/", lock.secret)


def test_a_reader_always_sees_one_address_or_the_other(tmp_path):
    addresses = {"", "http://127.0.0.1:8000/", "http://127.0.0.1:8000/" + "x" * 500}
    code = f"""
        import itertools
        from pathlib import Path
        from bot.runtime.lock import DataLock
        with DataLock(Path({str(tmp_path)!r})) as lock:
            print("held", flush=True)
            for address in itertools.cycle({sorted(addresses)!r}):
                lock.publish_url(address)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        holders = [read_holder(tmp_path) for _ in range(300)]
        process.kill()

    assert {holder.pid for holder in holders} == {process.pid}
    assert {holder.url for holder in holders} <= addresses


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"pid": "x"}', b"\xff\xfe"])
def test_a_held_lock_with_strange_content_has_an_unknown_holder(tmp_path, content):
    with DataLock(tmp_path):
        (tmp_path / FILE_NAME).write_bytes(content)

        assert read_holder(tmp_path) == LockHolder(0, "", "")


def test_a_lock_held_by_an_unknown_process_is_refused(tmp_path):
    with DataLock(tmp_path):
        (tmp_path / FILE_NAME).write_bytes(b"")

        with pytest.raises(StartupError, match="another process"):
            DataLock(tmp_path).acquire()


def test_without_a_file_the_lock_is_free(tmp_path):
    assert read_holder(tmp_path) is None
    assert read_holder(tmp_path / "missing") is None


def test_the_data_directory_is_made(tmp_path):
    with DataLock(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / FILE_NAME).exists()


def test_asking_who_holds_it_does_not_keep_anyone_out(tmp_path):
    for _ in range(20):
        assert read_holder(tmp_path) is None
        with DataLock(tmp_path):
            pass


def test_releasing_twice_does_no_harm(tmp_path):
    lock = DataLock(tmp_path)
    lock.acquire()
    lock.release()

    lock.release()


TAKE = (
    "import sys; from pathlib import Path; from bot.runtime.lock import DataLock; DataLock(Path(sys.argv[1])).acquire()"
)


def take_in_child(data_dir, lender, **more):
    environ = {**os.environ, DELEGATED_BY: str(lender)}
    command = [sys.executable, "-c", TAKE, str(data_dir)]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, **more)


def test_a_delegated_lock_is_accepted_by_children_and_left_unchanged(tmp_path):
    with DataLock(tmp_path) as lock:
        taken = take_in_child(tmp_path, os.getpid())

        assert taken.returncode == 0, taken.stderr
        assert read_holder(tmp_path) == LockHolder(os.getpid(), "", lock.secret)


def test_a_lock_that_another_than_the_holder_lends_is_refused(tmp_path):
    with DataLock(tmp_path):
        assert "Easel is already running on" in take_in_child(tmp_path, os.getppid()).stderr


def test_the_holder_delegates_only_to_its_own_children(tmp_path, monkeypatch):
    with another_process(tmp_path) as (pid, _, _):
        monkeypatch.setenv(DELEGATED_BY, str(pid))

        assert not is_delegated(tmp_path)
        with pytest.raises(StartupError, match="already running on"):
            DataLock(tmp_path).acquire()


@pytest.mark.parametrize("lender", ["", "0", "me", "-1", "99999999999999999999"])
def test_a_lender_that_is_none_changes_nothing(tmp_path, monkeypatch, lender):
    monkeypatch.setenv(DELEGATED_BY, lender)

    with DataLock(tmp_path):
        assert read_holder(tmp_path).pid == os.getpid()


@pytest.mark.skipif(os.name == "nt", reason="Windows locks belong to one process")
def test_children_that_inherited_the_lock_keep_it_when_its_holder_dies(tmp_path):
    code = f"""
        import subprocess, sys, os, signal
        from pathlib import Path
        from bot.runtime.lock import DataLock
        lock = DataLock(Path({str(tmp_path)!r}))
        lock.acquire()
        subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], pass_fds=[lock.handle])
        print("ready", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        holder.stdout.readline()
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(StartupError):
            DataLock(tmp_path).acquire()
        holder.stdin.close()


def journal(root):
    return UpdateJournal(
        root=str(root), old="1", new="2", step="upgrade", reinstall=False, database=str(root / "easel.db"), backup=""
    )


def test_only_the_update_can_lock_a_half_updated_installation(tmp_path):
    write_journal(tmp_path, journal(tmp_path))

    with pytest.raises(StartupError, match="update of Easel was interrupted"):
        DataLock(tmp_path).acquire()
    assert read_holder(tmp_path) is None
    with DataLock(tmp_path, for_update=True):
        assert take_in_child(tmp_path, os.getpid()).returncode == 0
    remove_journal(tmp_path)
    with DataLock(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"step": 1}'])
def test_a_damaged_update_journal_is_reported(tmp_path, content):
    (tmp_path / "update.json").write_text(content)

    with pytest.raises(StartupError, match="cannot be read"):
        DataLock(tmp_path).acquire()
    assert read_holder(tmp_path) is None
