"""The picture child: decodes what strangers sent, so that nothing they send can harm the house.

Run as `python -m inference.images.worker PARENT_PID MEMORY_MB CPU_S`. Without torch; small; with limits on
memory and, for each request, on processor time. It says Ready; then each request gets one reply.
"""

import contextlib
import os
import sys
from typing import Any

from bot.errors import EaselError, EngineError
from inference.images import decode, encode, resize
from inference.ipc import child, messages


def answer(request: Any) -> Any:
    """The reply to a request, or the failure to send instead."""
    try:
        match request:
            case messages.CleanRequest():
                return decode.clean(request)
            case messages.EncodeRequest():
                return encode.encode(request)
            case messages.GridRequest():
                return encode.grid(request)
            case messages.ShrinkRequest():
                return resize.shrink(request)
            case messages.EnlargeRequest():
                return resize.enlarge(request)
        raise EngineError(detail=f"{type(request).__name__} is no request")
    except EaselError as error:
        return messages.pack_error(error)
    except Exception as error:
        return messages.pack_error(EngineError(detail=child.trace(error)))


def limit_memory(memory_mb: int) -> None:
    """Where the system can: macOS and Windows ignore or lack the limit."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_mb * 2**20, memory_mb * 2**20))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_cpu(cpu_s: int) -> None:
    """The kernel ends this process when it computes longer than that from now on."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(used.ru_utime + used.ru_stime) + 1 + cpu_s
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def main() -> None:
    parent, memory_mb, cpu_s = (int(text) for text in sys.argv[1:4])
    line = child.take_line()
    child.settle(parent, niceness=0)
    limit_memory(memory_mb)
    line.send(messages.Ready(slots=1))
    while (request := line.receive()) is not None:
        limit_cpu(cpu_s)
        line.send(answer(request))
        del request
    os._exit(0)


if __name__ == "__main__":
    main()
