"""Two peers as people build them with FastAPI: `python -m benchmarks.peer_server KIND FOLDER PORT`.

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

from benchmarks.peer_pipeline import Pipeline
from benchmarks.workload import Wish


def build(kind: str, folder: Path) -> FastAPI:
    app = FastAPI()
    pipeline = Pipeline(folder)
    lock = asyncio.Lock()

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/predict")
    async def predict(body: dict[str, Any]) -> StreamingResponse:
        return StreamingResponse(lines(Wish(**body)), media_type="text/plain")

    async def lines(wish: Wish) -> AsyncIterator[str]:
        said: asyncio.Queue[str | None] = asyncio.Queue()
        making = asyncio.create_task(make(wish, said))
        while (line := await said.get()) is not None:
            yield line
        await making

    async def make(wish: Wish, said: asyncio.Queue[str | None]) -> None:
        loop = asyncio.get_running_loop()

        def tell(_: int, line: str) -> None:
            loop.call_soon_threadsafe(said.put_nowait, line)

        try:
            async with lock if kind == "lock" else contextlib.nullcontext():
                await asyncio.to_thread(pipeline.make, [wish], tell)
        finally:
            loop.call_soon(said.put_nowait, None)

    return app


if __name__ == "__main__":
    uvicorn.run(build(sys.argv[1], Path(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[3]), log_level="error")
