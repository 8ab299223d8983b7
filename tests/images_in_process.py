"""What the image worker does, without its process: for tests that are about something else."""

import asyncio
from typing import Any

from inference.images.service import ImageService
from inference.images.worker import handle_request
from inference.ipc import messages
from tests.in_process_tools import InProcessTools


class InProcessImages(InProcessTools, ImageService):
    """An image that crashes, hangs or exhausts memory would do so to the tests."""

    async def _request(self, request: Any, owner: str = "") -> Any:
        reply = await asyncio.to_thread(handle_request, request)
        if isinstance(reply, messages.PackedError):
            raise messages.unpack_error(reply)
        return reply
