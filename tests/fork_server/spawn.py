"""Takes children of `main.py` from fork servers: what `ChildProcess.spawn` is replaced by."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.fork_server.client import PARENT, receive_status, request


class ForkedChild:
    """What `ChildProcess` uses of an `asyncio.subprocess.Process`."""

    def __init__(
        self,
        pid: int,
        connection: socket.socket,
        stdin: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
        stderr: asyncio.StreamReader,
    ) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._connection = connection
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(connection, self._end)

    async def wait(self) -> int | None:
        await self._ended.wait()
        return self.returncode

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._connection)
        self.returncode = receive_status(self._connection)
        self._connection.close()
        self.stdin.close()
        self._ended.set()


def spawn_from(addresses: Mapping[str, str]) -> Callable[..., Awaitable[Any]]:
    """`addresses`: fork servers by the module that they start; others have the real start."""
    return partial(_spawn, {module: address for module, address in addresses.items() if address})


async def _spawn(
    addresses: Mapping[str, str], program: str, flag: str, module: str, parent: str, *words: str, **options: Any
) -> Any:
    """As `asyncio.create_subprocess_exec` with three pipes."""
    if module not in addresses:
        return await asyncio.create_subprocess_exec(program, flag, module, parent, *words, **options)
    forking = asyncio.create_task(_fork(addresses[module], [flag, module, PARENT, *words], **options))
    try:
        return await asyncio.shield(forking)
    except asyncio.CancelledError:
        child = await forking
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
        raise


async def _fork(
    address: str, arguments: list[str], *, cwd: Path, env: Mapping[str, str], limit: int, **options: Any
) -> ForkedChild:
    (stdin, to_child), (from_child, stdout), (log, stderr) = (os.pipe() for _ in range(3))
    asked = partial(
        request,
        address,
        [stdin, stdout, stderr],
        arguments=arguments,
        environ=dict(env),
        cwd=str(cwd),
        group=options.get("process_group") == 0,
    )
    try:
        connection, pid = await asyncio.to_thread(asked)
    except BaseException:
        for file in (to_child, from_child, log):
            os.close(file)
        raise
    finally:
        for file in (stdin, stdout, stderr):
            os.close(file)
    writer = await _writer(to_child)
    return ForkedChild(pid, connection, writer, await _reader(from_child, limit), await _reader(log, limit))


async def _reader(file: int, limit: int) -> asyncio.StreamReader:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit, loop)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader, loop=loop), os.fdopen(file, "rb"))
    return reader


async def _writer(file: int) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(file, "wb"))
    return asyncio.StreamWriter(transport, protocol, None, loop)
