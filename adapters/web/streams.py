"""Streams that end when the server stops or the caller loses access."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress
from typing import TypeVar

Item = TypeVar("Item")


async def iterate_until(ends: Sequence[asyncio.Event], items: AsyncGenerator[Item, None]) -> AsyncIterator[Item]:
    """The items, until they end or one of `ends` is set."""
    ended = [asyncio.ensure_future(end.wait()) for end in ends]
    try:
        while True:
            next_item = asyncio.ensure_future(anext(items))
            try:
                await asyncio.wait({next_item, *ended}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not next_item.done():
                    next_item.cancel()
                    with suppress(asyncio.CancelledError):
                        await next_item
            if any(end.is_set() for end in ends):
                return
            try:
                item = next_item.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        for waiting in ended:
            waiting.cancel()
