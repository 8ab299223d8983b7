"""`easel people`: the same with and without a running server."""

import json
from contextlib import nullcontext

import pytest

from tests.cli.app_fixture import serving


@pytest.mark.parametrize("open_mode", [nullcontext, serving], ids=["local", "server"])
def test_people_are_listed_blocked_and_unblocked(open_mode, call, data_dir):
    for name in ("Ann", "Anna"):
        call("keys", "create", "--person", name)
    with open_mode(data_dir):
        listed = json.loads(call("people", "list", "ann", "--json").out)["people"]
        blocked = call("people", "block", "Ann")
        again = json.loads(call("people", "block", listed[-1]["id"], "--json").out)
        table = call("people", "list").out
        refused = [call("people", "block", name) for name in ("Nobody", "local")]
        unblocked = call("people", "unblock", "Ann")
        left = json.loads(call("people", "list", "--json").out)["people"]

    assert [one["name"] for one in listed] == ["Anna", "Ann"]
    assert set(listed[0]) == {"id", "name", "accounts", "jobs", "blocked"}
    assert blocked.out == "Blocked Ann on all linked accounts.\n"
    assert (again["name"], again["blocked"], again["cancelled"]) == ("Ann", True, [])
    assert table.count("blocked") == 1
    assert all(one.code in (1, 2) for one in refused)
    assert "There is nobody called 'Nobody'" in refused[0].err
    assert "cannot be blocked" in refused[1].err
    assert unblocked.out == "Unblocked Ann.\n"
    assert not any(one["blocked"] for one in left)
