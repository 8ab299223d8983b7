"""LitServe as a peer: `python -m benchmarks.peer_litserve FOLDER PORT BATCH`.

It streams, so that its people see previews, too. With batches, requests that came within 50 ms run to the end together;
those of one kind in one call, the kinds one after another.
"""

import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import litserve

from benchmarks.workload import Wish

WAIT_S = 0.05


class Pictures(litserve.LitAPI):
    def __init__(self, folder: Path, batch: int) -> None:
        super().__init__(max_batch_size=batch, batch_timeout=WAIT_S if batch > 1 else 0.0, stream=True)
        self._folder = folder
        self._batch = batch

    def setup(self, device: str) -> None:
        from benchmarks.peer_pipeline import Pipeline

        self._pipeline = Pipeline(self._folder)

    def decode_request(self, request: dict[str, Any]) -> Wish:
        return Wish(**request)

    def batch(self, inputs: Sequence[Wish]) -> list[Wish]:
        return list(inputs)

    def predict(self, wishes: Any) -> Iterator[Any]:
        """Lines of one wish, or lists with a line for each wish of the batch ("" for those without news)."""
        if isinstance(wishes, Wish):
            for _, line in self._lines([wishes]):
                yield line
        else:
            for place, line in self._lines(wishes):
                yield [line if other == place else "" for other in range(len(wishes))]

    def unbatch(self, output: Iterator[Any]) -> Iterator[Any]:
        yield from output

    def encode_response(self, output: Iterator[Any]) -> Any:
        yield from output

    def _lines(self, wishes: Sequence[Wish]) -> Iterator[tuple[int, str]]:
        """What the pipeline's callbacks say in a thread, as a generator."""
        said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        making = threading.Thread(target=self._make, args=(wishes, said))
        making.start()
        while isinstance(news := said.get(), tuple):
            yield news
        making.join()
        if news is not None:
            raise news

    def _make(self, wishes: Sequence[Wish], said: "queue.SimpleQueue[Any]") -> None:
        from benchmarks.peer_pipeline import groups

        try:
            for places in groups(wishes, self._batch):

                def tell(place: int, line: str, places: Sequence[int] = places) -> None:
                    said.put((places[place], line))

                self._pipeline.make([wishes[place] for place in places], tell)
            said.put(None)
        except Exception as error:
            said.put(error)


if __name__ == "__main__":
    server = litserve.LitServer(Pictures(Path(sys.argv[1]), int(sys.argv[3])), accelerator="cpu", timeout=False)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), log_level="error", generate_client_file=False, num_api_servers=1
    )
