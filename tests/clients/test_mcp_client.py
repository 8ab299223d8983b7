"""The PyPI package `mcp` as a client: at `/mcp`, and over stdin and stdout of the real `easel mcp`."""

import base64
import os
import shutil
import sys

import pytest

from composition.settings import ROOT
from tests.backends_required import require_backend

require_backend("mcp")

from mcp import Client, StdioServerParameters  # noqa: E402 - after the library is known to be there
from mcp.client.stdio import stdio_client  # noqa: E402

from tests.cli.app_fixture import serving  # noqa: E402
from tests.mcp_api.mcp_client import ERAS, connect, texts_of, uris_of  # noqa: E402
from tests.web.fake_pool import picture  # noqa: E402

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("mode", ERAS)
async def test_every_call_of_the_client_that_a_tool_program_makes_is_answered(server, mode):
    key = await server.create_key("ada")
    async with connect(server, key, mode=mode) as client:
        tools = (await client.list_tools()).tools
        made = await client.call_tool("imagine", {"prompt": "a fox", "seed": 3})
        (uri,) = uris_of(made)
        answer = await client.call_tool("ask", {"question": "what is it?", "images": [uri]})
        listed = (await client.list_resources()).resources
        await client.list_resource_templates()
        blob = (await client.read_resource(uri)).contents[0].blob
        assert client.server_info.name == "easel"

    assert "imagine" in [tool.name for tool in tools]
    assert texts_of(answer)[0] == "It is what is it?"
    assert [str(one.uri) for one in listed] == [uri]
    assert base64.b64decode(blob) == picture(3, 64, 64)


@pytest.fixture
def environ(tmp_path, upgraded_data):
    data_dir = tmp_path / "data"
    shutil.copytree(upgraded_data, data_dir)
    data_dir.chmod(0o700)
    return {**os.environ, "EASEL_DATA_DIR": str(data_dir)}


@pytest.mark.process
async def test_a_program_that_starts_easel_mcp_uses_the_server_that_runs(tmp_path, environ):
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture(5, 32, 24))
    program = StdioServerParameters(command=sys.executable, args=[str(ROOT / "main.py"), "mcp"], env=environ)
    seen = []

    async def note(progress, _total, message):
        seen.append((progress, message))

    with serving(tmp_path / "data"), (tmp_path / "stderr").open("w") as errors:
        async with Client(stdio_client(program, errlog=errors)) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            made = await client.call_tool("imagine", {"prompt": "a fox"}, progress_callback=note)
            caption = await client.call_tool("caption", {"images": [str(photo)]})
            refused = await client.call_tool("caption", {"images": [str(tmp_path / "notes.txt")]})
            blob = (await client.read_resource(uris_of(made)[0])).contents[0].blob

    assert {"imagine", "caption", "job"} <= set(tools)
    assert base64.b64decode(blob).startswith(b"\x89PNG")
    assert seen
    assert not caption.is_error
    assert "only image files" in texts_of(refused)[0]
    assert (tmp_path / "stderr").read_text() == ""
