"""LitServe as a peer: `python -m benchmarks.peer_litserve FOLDER PORT BATCH`.

It streams, so its users also get previews. With batches, requests that arrive within 50 ms form one batch; those of the
same kind run in one pipeline call, and the kinds one after another.
"""

import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import litserve

from benchmarks.workload import ImageRequest

WAIT_S = 0.05


class ImageAPI(litserve.LitAPI):
    def __init__(self, folder: Path, batch: int) -> None:
        super().__init__(max_batch_size=batch, batch_timeout=WAIT_S if batch > 1 else 0.0, stream=True)
        self._folder = folder
        self._batch = batch

    def setup(self, device: str) -> None:
        from benchmarks.peer_pipeline import PeerPipeline

        self._pipeline = PeerPipeline(self._folder)

    def decode_request(self, request: dict[str, Any]) -> ImageRequest:
        return ImageRequest(**request)

    def batch(self, inputs: Sequence[ImageRequest]) -> list[ImageRequest]:
        return list(inputs)

    def predict(self, requests: Any) -> Iterator[Any]:
        """Lines of one request, or lists with a line for each request of the batch ("" for those without one)."""
        if isinstance(requests, ImageRequest):
            for _, line in self._lines([requests]):
                yield line
        else:
            for index, line in self._lines(requests):
                yield [line if other == index else "" for other in range(len(requests))]

    def unbatch(self, output: Iterator[Any]) -> Iterator[Any]:
        yield from output

    def encode_response(self, output: Iterator[Any]) -> Any:
        yield from output

    def _lines(self, requests: Sequence[ImageRequest]) -> Iterator[tuple[int, str]]:
        """The output of the pipeline's callbacks in a thread, as a generator."""
        lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
        generating = threading.Thread(target=self._generate, args=(requests, lines))
        generating.start()
        while isinstance(item := lines.get(), tuple):
            yield item
        generating.join()
        if item is not None:
            raise item

    def _generate(self, requests: Sequence[ImageRequest], lines: "queue.SimpleQueue[Any]") -> None:
        from benchmarks.peer_pipeline import group_by_kind

        try:
            for indices in group_by_kind(requests, self._batch):

                def emit(index: int, line: str, indices: Sequence[int] = indices) -> None:
                    lines.put((indices[index], line))

                self._pipeline.generate([requests[index] for index in indices], emit)
            lines.put(None)
        except Exception as error:
            lines.put(error)


if __name__ == "__main__":
    server = litserve.LitServer(ImageAPI(Path(sys.argv[1]), int(sys.argv[3])), accelerator="cpu", timeout=False)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), log_level="error", generate_client_file=False, num_api_servers=1
    )
