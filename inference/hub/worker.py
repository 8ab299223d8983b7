"""The download worker: the only process that connects to a hub and that has its token. Imports no torch.

Run as `python -m inference.hub.worker PARENT_PID`. It handles one request, and ends with its parent.
"""

import os
import sys
from pathlib import Path

from bot.errors import DownloadFailed, EaselError
from bot.ports import CivitaiRef, RepoListing
from inference.ipc import child, messages, sandbox


def handle_request(pipes: child.PipeConnection, request: object) -> object:
    from inference.hub import civitai, listing, transfer  # the library reads the environment at import

    token = os.environ.get("HF_TOKEN", "")
    try:
        match request:
            case messages.InspectRepo(ref):
                return listing.inspect_repo(ref, token)
            case messages.DownloadRepo(repo_listing, retry_policy):
                transfer.download(repo_listing, token, retry_policy, pipes.send)
                return messages.DownloadDone()
            case CivitaiRef():
                return civitai.inspect(request, os.environ.get("CIVITAI_TOKEN", ""))
            case messages.DownloadCivitai(file, folder, retry_policy):
                token = os.environ.get("CIVITAI_TOKEN", "")
                return messages.DownloadDone(str(civitai.download(file, Path(folder), token, retry_policy)))
    except EaselError as error:
        return messages.pack_error(error)
    except Exception as error:
        problem = f"{type(error).__name__}: {child.format_traceback(error)[-2000:]}"
        child.log("error", "A download failed", problem=problem)
        return messages.pack_error(DownloadFailed(_repo_of(request), "broken"))
    return messages.pack_error(DownloadFailed("", "broken"))


def _repo_of(request: object) -> str:
    match request:
        case messages.InspectRepo(ref) | messages.DownloadRepo(RepoListing(ref=ref), _):
            return ref.repo
        case messages.DownloadCivitai(file):
            return file.title
        case CivitaiRef(model_id=model_id, version_id=version_id):
            return f"civitai:{model_id or version_id}"
    return ""


def main() -> None:
    parent_pid = int(sys.argv[1])
    pipes = child.open_pipes()
    child.detach_from_terminal(parent_pid, nice=5)
    sandbox.harden()
    request = pipes.receive()
    if request is not None:
        pipes.send(handle_request(pipes, request))
    os._exit(0)


if __name__ == "__main__":
    main()
