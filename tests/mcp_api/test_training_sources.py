"""Nothing that came through MCP, and nothing made from it, enters training: here or as `easel mcp` asks for it."""

import base64

import pytest

from tests.backends_required import require_backend

require_backend("mcp")

from tests.mcp_api.mcp_client import connect, uris_of  # noqa: E402 - after the library is known to be there
from tests.training_sources import assert_nothing_enters_training  # noqa: E402
from tests.web.conftest import SECRET, open_client  # noqa: E402
from tests.web.fake_pool import picture  # noqa: E402

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def ask_as_easel_mcp_does(served):
    headers = {"Authorization": f"Bearer {SECRET}", "X-Easel-Client": "mcp"}
    async with open_client(served) as client:
        file = {"file": ("a.png", picture(31, 48, 32))}
        image = (await client.post("/api/v1/media", files=file, headers=headers)).json()["id"]
        body = {"command": "caption", "images": [image]}
        await client.post("/api/v1/jobs", json=body, headers=headers)


async def test_no_way_in_leads_to_training(server):
    async with connect(server) as client:
        given = base64.b64encode(picture(32, 48, 32)).decode()
        await client.call_tool("ask", {"question": "what is it?", "images": [given]})
        made = await client.call_tool("imagine", {"prompt": "a fox", "images": [given]})
        await client.call_tool("caption", {"images": uris_of(made)})
    await ask_as_easel_mcp_does(server)
    person = await server.usecases.people.local_person()

    sources = await assert_nothing_enters_training(server.application, person)

    assert sources == {"mcp"}
