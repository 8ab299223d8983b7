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
from bot.lock import FILE_NAME, DataLock, Holder, read_holder

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def another_process(data_dir, then="publish('http://127.0.0.1:8000/')"):
    """(pid, secret, process) of one that holds the lock until it is killed or its stdin ends."""
    code = f"""
        import sys
        from pathlib import Path
        from bot.lock import DataLock
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

    assert holder == Holder(pid, "http://127.0.0.1:8000/", secret)


def test_a_holder_without_a_page_has_no_address(tmp_path):
    with another_process(tmp_path, then="publish('')") as (pid, secret, _):
        assert read_holder(tmp_path) == Holder(pid, "", secret)
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
        lock.publish("http://127.0.0.1:8000/a-long-way-down")
        lock.publish("http://127.0.0.1:1/")

        assert read_holder(tmp_path) == Holder(os.getpid(), "http://127.0.0.1:1/", lock.secret)


def test_a_reader_always_sees_one_address_or_the_other(tmp_path):
    addresses = {"", "http://127.0.0.1:8000/", "http://127.0.0.1:8000/" + "x" * 500}
    code = f"""
        import itertools
        from pathlib import Path
        from bot.lock import DataLock
        with DataLock(Path({str(tmp_path)!r})) as lock:
            print("held", flush=True)
            for address in itertools.cycle({sorted(addresses)!r}):
                lock.publish(address)
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

        assert read_holder(tmp_path) == Holder(0, "", "")


def test_a_lock_held_by_an_unknown_process_is_refused_too(tmp_path):
    with DataLock(tmp_path):
        (tmp_path / FILE_NAME).write_bytes(b"")

        with pytest.raises(StartupError, match="another process"):
            DataLock(tmp_path).acquire()


def test_without_a_file_nobody_holds_it(tmp_path):
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
