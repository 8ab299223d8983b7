"""The download child: the only process that talks to a hub and that sees `HF_TOKEN`. Imports no torch.

Run as `python -m inference.hub.worker PARENT_PID`. One order, then its answer; it ends with its parent.
"""

import os
import sys

from bot.errors import DownloadFailed, EaselError
from bot.ports import Listing
from inference.ipc import child, messages


def answer(line: child.Line, order: object) -> object:
    from inference.hub import listing, transfer  # read the environment when it is imported

    token = os.environ.get("HF_TOKEN", "")
    try:
        match order:
            case messages.Look(wanted):
                return listing.look(wanted, token)
            case messages.Fetch(found, patience):
                transfer.fetch(found, token, patience, line.send)
                return messages.Fetched()
    except EaselError as error:
        return messages.pack_error(error)
    except Exception as error:
        child.log("error", "A download failed", problem=f"{type(error).__name__}: {child.trace(error)[-2000:]}")
        return messages.pack_error(DownloadFailed(_repo_of(order), "broken"))
    return messages.pack_error(DownloadFailed("", "broken"))


def _repo_of(order: object) -> str:
    match order:
        case messages.Look(wanted) | messages.Fetch(Listing(wanted=wanted), _):
            return wanted.repo
    return ""


def main() -> None:
    parent = int(sys.argv[1])
    line = child.take_line()
    child.settle(parent, niceness=5)
    order = line.receive()
    if order is not None:
        line.send(answer(line, order))
    os._exit(0)


if __name__ == "__main__":
    main()
