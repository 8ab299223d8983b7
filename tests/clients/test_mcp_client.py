"""The PyPI package `mcp` as a client: at `/mcp`, and over stdin and stdout of the real `easel mcp`."""

import asyncio
import base64
import json
import os
import re
import shutil
import sys

import pytest

from composition.settings import ROOT
from tests.backends_required import require_backend

require_backend("mcp")

from mcp import Client, StdioServerParameters  # noqa: E402 - after the library is known to be there
from mcp.client.stdio import stdio_client  # noqa: E402

from adapters.mcp.tool_schemas import LOOK_UPS  # noqa: E402
from bot.commands import COMMANDS  # noqa: E402
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


def blocks_of(language):
    """Of the part about MCP in docs/clients.md."""
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8").partition("\n## MCP\n")[2]
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


async def test_the_documented_code_runs(shared_server, capsys):
    (code,) = blocks_of("python")
    await asyncio.to_thread(exec, code.replace("http://127.0.0.1:8000", shared_server.url), {})

    assert "It is what color is it?" in capsys.readouterr().out


async def test_the_documented_settings_are_json():
    (desktop, code) = map(json.loads, blocks_of("json"))

    assert desktop["mcpServers"]["easel"]["args"] == ["mcp"]
    assert code["servers"]["easel"]["url"].endswith("/mcp")


async def test_the_documented_tools_are_all_there_are():
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8").partition("\n## MCP\n")[2]
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)

    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == {*COMMANDS, *LOOK_UPS}


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
