"""The image worker: decodes untrusted images in a process of its own, to protect the server.

Run as `python -m inference.images.worker PARENT_PID MEMORY_MB CPU_S NICE [threads|tools]`. Small, without torch, with a
limit on memory and, for each request, on processor time. It sends Ready, then one reply to each request. Before the
first it gives up files, network and processes (`inference.ipc.sandbox`), so what decoding needs is imported by then.
"""

import codecs
import contextlib
import os
import sys
from importlib import import_module
from typing import Any

from PIL import Image

from bot.errors import EaselError, EngineError
from inference.images import decode, encode, mask_check, metadata, resize, thumbnail
from inference.ipc import child, image_messages, mask_messages, messages, sandbox, thumbnail_messages, tool_messages

TOOLS = "tools"
"""The argument of a process that runs image tools."""
THREADS = "threads"
"""The argument of a process that may start threads: a decoder needs them, and this one decodes nothing else."""
_CODECS = ("ascii", "latin-1", "utf-8", "utf-16", "utf-16-be", "utf-16-le", "cp1252")


def handle_request(request: Any) -> Any:
    """The reply to a request, or its error."""
    try:
        match request:
            case image_messages.SanitizeRequest():
                return decode.sanitize(request)
            case image_messages.EncodeRequest() if request.source:
                return resize.encode_derived(request)
            case image_messages.EncodeRequest():
                return encode.encode_image(request)
            case image_messages.ContactSheetRequest():
                return encode.contact_sheet(request)
            case image_messages.FitBytesRequest():
                return resize.fit_bytes(request)
            case image_messages.ConvertRequest():
                return resize.convert_image(request)
            case image_messages.ResizeRequest():
                return resize.resize_image(request)
            case mask_messages.MaskRequest():
                return mask_check.check_mask(request)
            case thumbnail_messages.ThumbnailRequest():
                return thumbnail.make_thumbnail(request)
            case tool_messages.ToolRequest() if "inference.images.tools" in sys.modules:
                reply: Any = sys.modules["inference.images.tools"].run_tool(request)
                return reply
        raise EngineError(detail=f"{type(request).__name__} is not a request")
    except EaselError as error:
        return messages.pack_error(error)
    except Exception as error:
        return messages.pack_error(EngineError(detail=child.format_traceback(error)))


def import_decoders() -> None:
    """Import what Pillow, Python and we would import on demand: a confined process cannot."""
    Image.init()
    for name in _CODECS:
        codecs.lookup(name)
    metadata.software_name()


def limit_memory(memory_mb: int) -> None:
    """Only where the system supports it: macOS ignores the limit, Windows has none."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_mb * 2**20, memory_mb * 2**20))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_cpu(cpu_s: int) -> None:
    """The kernel ends this process when it uses more processor time than this from now on."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(used.ru_utime + used.ru_stime) + 1 + cpu_s
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def main() -> None:
    parent_pid, memory_mb, cpu_s, nice = (int(text) for text in sys.argv[1:5])
    pipes = child.open_pipes()
    child.detach_from_terminal(parent_pid, nice)
    import_decoders()
    if TOOLS in sys.argv[5:]:
        import_module("numpy.ma")  # numpy imports it on demand, for medians
        import_module("inference.images.tools")
    limit_memory(memory_mb)
    sandbox.confine(may_start_threads=THREADS in sys.argv[5:])
    pipes.send(messages.Ready(slots=1))
    while (request := pipes.receive()) is not None:
        limit_cpu(cpu_s)
        pipes.send(handle_request(request))
        del request
    os._exit(0)


if __name__ == "__main__":
    main()
