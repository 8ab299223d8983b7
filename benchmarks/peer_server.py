"""Two typical FastAPI servers as peers: `python -m benchmarks.peer_server KIND FOLDER PORT`.

"lock": requests wait for one lock, as in AUTOMATIC1111 and SD.Next. "threads": each request has a thread and a view of
the shared pipeline, as in Diffusers' asynchronous example server.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from benchmarks.peer_pipeline import PeerPipeline
from benchmarks.workload import ImageRequest


def build_app(kind: str, folder: Path) -> FastAPI:
    app = FastAPI()
    pipeline = PeerPipeline(folder)
    lock = asyncio.Lock()

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/predict")
    async def predict(body: dict[str, Any]) -> StreamingResponse:
        return StreamingResponse(stream_lines(ImageRequest(**body)), media_type="text/plain")

    async def stream_lines(request: ImageRequest) -> AsyncIterator[str]:
        lines: asyncio.Queue[str | None] = asyncio.Queue()
        generating = asyncio.create_task(generate(request, lines))
        while (line := await lines.get()) is not None:
            yield line
        await generating

    async def generate(request: ImageRequest, lines: asyncio.Queue[str | None]) -> None:
        loop = asyncio.get_running_loop()

        def emit(_: int, line: str) -> None:
            loop.call_soon_threadsafe(lines.put_nowait, line)

        try:
            async with lock if kind == "lock" else contextlib.nullcontext():
                await asyncio.to_thread(pipeline.generate, [request], emit)
        finally:
            loop.call_soon(lines.put_nowait, None)

    return app


if __name__ == "__main__":
    uvicorn.run(build_app(sys.argv[1], Path(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[3]), log_level="error")
