"""Everything of another person is as if it were not there; the quota is the person's own; nothing private is logged."""

import io
import logging

import pytest
import pytest_asyncio

from tests.backends_required import require_backend

require_backend("mcp")

from mcp import MCPError  # noqa: E402 - after the library is known to be there

from adapters.mcp.library_log import confine_library_log  # noqa: E402
from tests.mcp_api.mcp_client import connect, texts_of, uris_of  # noqa: E402
from tests.web.conftest import open_client, open_easel  # noqa: E402

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def keys(server):
    return await server.create_key("ada"), await server.create_key("ben")


async def test_pictures_are_read_by_their_owner_only(server, keys):
    ada, ben = keys
    async with connect(server, ada) as client:
        uri = uris_of(await client.call_tool("imagine", {"prompt": "a fox"}))[0]
        assert (await client.read_resource(uri)).contents

    async with connect(server, ben) as client:
        with pytest.raises(MCPError, match="You have no job called"):
            await client.read_resource(uri)
        used = await client.call_tool("caption", {"images": [uri]})
        listed = (await client.list_resources()).resources

    assert used.is_error
    assert listed == []


@pytest.mark.parametrize("uri", ["easel://job/aaaa/1", "easel://job/../1", "easel://other", "file:///etc/passwd"])
async def test_other_resources_are_a_sentence(shared_server, uri):
    async with connect(shared_server) as client:
        with pytest.raises(MCPError) as refused:
            await client.read_resource(uri)

    assert refused.value.message.startswith(("You have no job", "Resources are"))


async def test_the_number_of_a_picture_that_is_not_there_is_a_sentence(shared_server):
    async with connect(shared_server) as client:
        uri = uris_of(await client.call_tool("imagine", {"prompt": "a fox"}))[0]
        with pytest.raises(MCPError, match="there is no number 9"):
            await client.read_resource(uri.removesuffix("1") + "9")


async def test_the_quota_is_that_of_the_key(server, keys):
    ada, _ = keys
    async with connect(server, ada) as client:
        answers = [await client.call_tool("imagine", {"prompt": "a fox", "steps": 40}) for _ in range(2)]

    assert answers[-1].is_error
    assert "device-seconds" in texts_of(answers[-1])[0]


async def test_what_the_policy_forbids_is_refused_as_elsewhere(tmp_path, upgraded_data):
    async with open_easel(tmp_path / "data", policy="block") as easel:
        key = await easel.create_key("ada")
        await easel.serve()
        async with connect(easel, key) as client:
            answer = await client.call_tool("imagine", {"prompt": "nude"})

    assert answer.is_error
    assert "isn't allowed here" in texts_of(answer)[0]
    assert not uris_of(answer)


async def test_a_picture_that_is_hidden_elsewhere_is_linked_and_not_shown(tmp_path):
    async with open_easel(tmp_path / "data", policy="spoiler") as easel:
        key = await easel.create_key("ada")
        await easel.serve()
        async with connect(easel, key) as client:
            answer = await client.call_tool("imagine", {"prompt": "nude"})

    assert [block.type for block in answer.content] == ["text", "resource_link"]
    assert "Not shown here" in texts_of(answer)[0]


async def test_an_error_of_the_program_is_logged_without_what_was_asked(shared_server, monkeypatch, capsys, caplog):
    async def fail(*_arguments, **_options):
        raise RuntimeError("the secret words of a prompt")

    monkeypatch.setattr(type(shared_server.usecases.jobs), "submit", fail)
    async with connect(shared_server) as client:
        answer = await client.call_tool("imagine", {"prompt": "secret words"})

    shown = capsys.readouterr()
    logged = shown.out + shown.err + caplog.text
    assert answer.is_error
    assert "Something went wrong" in texts_of(answer)[0]
    assert "mcp.failed" in logged
    assert "secret" not in logged
    assert "Traceback" not in logged


async def test_the_library_logs_no_text_and_no_traceback(capsys):
    """What reaches the handlers of all loggers is what would be in the log."""
    confine_library_log()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    try:
        raise ValueError("the secret words of a prompt")
    except ValueError:
        logging.getLogger("mcp.server.runner").exception("a secret %s", "argument")
    finally:
        logging.getLogger().removeHandler(handler)

    shown = capsys.readouterr()
    logged = stream.getvalue() + shown.out + shown.err
    assert "mcp.server.runner" in logged
    assert "ValueError" in logged
    assert "secret" not in logged
    assert "Traceback" not in logged


async def test_the_client_of_the_header_is_believed_with_the_local_secret_only(server):
    key = await server.create_key("ada")
    jobs = {}
    async with open_client(server) as client:
        for name, shown in (("key", key), ("secret", "the-local-secret")):
            headers = {"Authorization": f"Bearer {shown}", "X-Easel-Client": "mcp"}
            body = {"command": "imagine", "options": {"prompt": "a fox"}}
            created = (await client.post("/api/v1/jobs", json=body, headers=headers)).json()
            jobs[name] = (await client.get(f"/api/v1/jobs/{created['id']}", headers=headers)).json()["facts"]["client"]

    assert jobs == {"key": None, "secret": "mcp"}
