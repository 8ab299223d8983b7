"""Mean vectors of one person's pictures in memory, and the nearest of them to a text.

They are kept in 8 bits with a scale for each: 100,000 pictures with vectors of 256 numbers take 31 MB. A search
computes a chunk at a time, which stays in the processor's cache, in one thread: those of a matrix product wait for each
other on a busy machine.
"""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

_CHUNK = 2048
_PICTURES = 64
"""Whose vectors are compared together."""
_MEDIA_BYTES = 32
_JOB_BYTES = 16
_LEVELS = 127.0


class MeanVectors:
    """Rows of (job, picture, mean vector); removed rows stay until the whole is read anew.

    Attributes:
        changed: up to which change of the owner's jobs the rows are current.
        saved: up to which saved embedding of anybody's.
    """

    def __init__(self, width: int, *, saved: int) -> None:
        self.width = width
        self.changed = -1
        self.saved = saved
        self._count = 0
        self._vectors = np.empty((0, width), np.int8)
        self._scales = np.empty(0, np.float32)
        self._jobs = np.empty(0, f"S{_JOB_BYTES}")
        self._media = np.empty((0, _MEDIA_BYTES), np.uint8)

    @property
    def nbytes(self) -> int:
        return sum(one.nbytes for one in (self._vectors, self._scales, self._jobs, self._media))

    @property
    def is_sparse(self) -> bool:
        """Whether most rows were removed."""
        return self._count > _CHUNK and 2 * int(np.count_nonzero(self._scales[: self._count])) < self._count

    def add(self, rows: Sequence[tuple[str, str, bytes]]) -> None:
        """Job, image and its mean vector in float16."""
        rows = [row for row in rows if len(row[2]) == 2 * self.width]
        if not rows:
            return
        self._make_room(len(rows))
        means = np.frombuffer(b"".join(mean for *_, mean in rows), "<f2").reshape(-1, self.width).astype(np.float32)
        scales = np.maximum(np.abs(means).max(axis=1), 1e-6) / _LEVELS
        new = slice(self._count, self._count + len(rows))
        self._vectors[new] = np.rint(means / scales[:, None])
        self._scales[new] = scales
        self._jobs[new] = [job.encode() for job, *_ in rows]
        digests = b"".join(bytes.fromhex(media) for _, media, _ in rows)
        self._media[new] = np.frombuffer(digests, np.uint8).reshape(-1, _MEDIA_BYTES)
        self._count = new.stop

    def _make_room(self, more: int) -> None:
        size = self._count + more
        if size <= len(self._vectors):
            return
        size = max(size, len(self._vectors) * 5 // 4, 64)
        for name in ("_vectors", "_scales", "_jobs", "_media"):
            old = getattr(self, name)
            grown = np.zeros((size, *old.shape[1:]), old.dtype)
            grown[: self._count] = old[: self._count]
            setattr(self, name, grown)

    def remove_jobs(self, jobs: Collection[str]) -> None:
        """What is removed is overwritten."""
        gone = np.isin(self._jobs[: self._count], _to_array(jobs))
        self._scales[: self._count][gone] = 0
        self._vectors[: self._count][gone] = 0

    def find_rows(self, text: NDArray[np.float32], limit: int, among: Collection[str] | None) -> NDArray[np.intp]:
        """The nearest rows to a vector, in no order."""
        similarities = self._compare(text)
        similarities[self._scales[: self._count] == 0] = -np.inf
        if among is not None:
            similarities[~np.isin(self._jobs[: self._count], _to_array(among))] = -np.inf
        count = min(limit, int(np.count_nonzero(similarities > -np.inf)))
        return np.argpartition(-similarities, count - 1)[:count] if count else np.empty(0, np.intp)

    def _compare(self, text: NDArray[np.float32]) -> NDArray[np.float32]:
        similarities = np.empty(self._count, np.float32)
        buffer = np.empty((_CHUNK, self.width), np.float32)
        for start in range(0, self._count, _CHUNK):
            rows = self._vectors[start : min(start + _CHUNK, self._count)]
            buffer[: len(rows)] = rows
            np.vecdot(buffer[: len(rows)], text, out=similarities[start : start + len(rows)])
        return similarities * self._scales[: self._count]

    def jobs_of(self, rows: NDArray[np.intp]) -> list[str]:
        return [job.decode() for job in self._jobs[rows].tolist()]

    def media_of(self, rows: NDArray[np.intp]) -> list[str]:
        return [digest.tobytes().hex() for digest in self._media[rows]]


def _to_array(jobs: Collection[str]) -> NDArray[np.bytes_]:
    return np.array([job.encode() for job in jobs], f"S{_JOB_BYTES}")


def mean_of(vectors: bytes, count: int) -> bytes:
    """The mean of `count` vectors, both in float16."""
    return np.frombuffer(vectors, "<f2").reshape(count, -1).astype(np.float32).mean(axis=0).astype("<f2").tobytes()


def largest_similarities(vectors: Sequence[bytes], text: NDArray[np.float32]) -> list[float]:
    """Of each picture's vectors, in float16, the largest dot product with the text's."""
    largest: list[float] = []
    for start in range(0, len(vectors), _PICTURES):
        some = vectors[start : start + _PICTURES]
        rows = np.frombuffer(b"".join(some), "<f2").astype(np.float32).reshape(-1, len(text))
        starts = np.cumsum([0, *(len(one) // (2 * len(text)) for one in some[:-1])])
        largest += np.maximum.reduceat(np.vecdot(rows, text), starts).tolist()
    return largest


def first_vector(vectors: bytes, width: int) -> NDArray[np.float32]:
    return np.frombuffer(vectors, "<f2")[:width].astype(np.float32)
