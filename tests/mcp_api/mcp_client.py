"""The library's own client, connected to a served Easel."""

import asyncio
from contextlib import asynccontextmanager

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

ERAS = ("legacy", "auto")
"""With sessions, as in the protocol's versions up to 2025-11-25, and without, as since 2026-07-28."""


@asynccontextmanager
async def connect(served, key=None, mode="auto", **headers):
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    async with httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as http_client:
        transport = streamable_http_client(f"{served.url}/mcp", http_client=http_client)
        async with Client(transport, mode=mode) as client:
            yield client


@asynccontextmanager
async def stay_connected(served):
    """A client for many tests: it is opened and closed in one task, as it has to be."""
    opened, is_done = asyncio.get_running_loop().create_future(), asyncio.Event()

    async def keep():
        async with connect(served) as client:
            opened.set_result(client)
            await is_done.wait()

    task = asyncio.create_task(keep())
    try:
        yield await opened
    finally:
        is_done.set()
        await task


def texts_of(result):
    return [block.text for block in result.content if block.type == "text"]


def uris_of(result):
    return [str(block.uri) for block in result.content if block.type == "resource_link"]


def job_id_of(result):
    """The first job that an answer names."""
    words = " ".join(texts_of(result)).split()
    return words[words.index("Job") + 1].strip(":")
