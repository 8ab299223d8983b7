"""`easel keys unlock`: the only way back to a server without keys, with and without a running server."""

import json
from contextlib import nullcontext

import httpx2
import pytest

from tests.cli.app_fixture import serving

MODES = pytest.mark.parametrize("open_mode", [nullcontext, serving], ids=["local", "server"])


def status_without_key(data_dir):
    """What a server on this data answers to a request without a key."""
    with serving(data_dir) as url, httpx2.Client(trust_env=False) as client:
        return client.get(f"{url}/api/v1/quota").status_code


@MODES
def test_a_server_whose_keys_are_revoked_stays_locked_until_it_is_unlocked(open_mode, call, data_dir):
    prefix = call("keys", "create").out.partition(".")[0]
    with open_mode(data_dir):
        revoked = call("keys", "revoke", prefix)
    locked = status_without_key(data_dir)
    with open_mode(data_dir):
        unlocked = call("keys", "unlock")
    opened = status_without_key(data_dir)

    assert "keys unlock" in revoked.err
    assert (unlocked.code, locked, opened) == (0, 401, 200), unlocked.err
    assert "proxy" in unlocked.out


@MODES
def test_it_stays_locked_while_a_key_is_active(open_mode, call, data_dir):
    call("keys", "create")
    call("keys", "create", "--person", "Ann")
    with open_mode(data_dir):
        refused = call("keys", "unlock")
        as_json = call("keys", "unlock", "--json")

    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("easel: 2 API keys are active, so the server stays locked: revoke them first")
    assert json.loads(as_json.out)["error"]["code"] == "locked"
    assert status_without_key(data_dir) == 401


def test_a_server_that_never_had_a_key_may_be_unlocked_too(call):
    result = call("keys", "unlock", "--json")

    assert (result.code, json.loads(result.out)) == (0, {"locked": False, "active_keys": 0})


def test_revoking_one_of_two_keys_says_nothing_of_the_lock(call):
    prefix = call("keys", "create").out.partition(".")[0]
    call("keys", "create")

    assert call("keys", "revoke", prefix).err == ""


def test_restoring_a_backup_from_before_the_first_key_unlocks_nothing(call, data_dir, tmp_path):
    copy = tmp_path / "copy.db"
    call("db", "backup", str(copy))
    prefix = call("keys", "create").out.partition(".")[0]
    call("keys", "revoke", prefix)
    restored = call("db", "restore", str(copy))
    locked = status_without_key(data_dir)
    call("keys", "unlock")
    opened = status_without_key(data_dir)

    assert (restored.code, locked, opened) == (0, 401, 200), restored.err


def test_restoring_a_backup_locks_no_server_that_never_had_a_key(call, data_dir, tmp_path):
    copy = tmp_path / "copy.db"
    call("db", "backup", str(copy))
    call("db", "restore", str(copy))

    assert status_without_key(data_dir) == 200


def test_a_damaged_database_that_cannot_say_whether_it_is_locked_counts_as_locked(call, data_dir, tmp_path):
    copy = tmp_path / "copy.db"
    call("db", "backup", str(copy))
    call("keys", "create")
    (data_dir / "easel.db").write_bytes((data_dir / "easel.db").read_bytes()[:5000])
    restored = call("db", "restore", str(copy))

    assert (restored.code, status_without_key(data_dir)) == (0, 401), restored.err
    assert "keys unlock" in restored.err
