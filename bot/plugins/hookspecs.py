"""Everything that plugins can extend: the hooks, when each is called, and with what.

A plugin of the server (`ServerHooks`) runs in the parent process, which has no torch; a plugin of the worker
(`WorkerHooks`) runs in the child process of a device, between the steps of all its images. A plugin may have both: the
entry points `easel.plugins` and `easel.worker_plugins`, or a file `plugins/NAME.py` in the data directory.
"""

import pluggy

PROJECT = "easel"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class ServerHooks:
    """Hooks of the parent process."""


class WorkerHooks:
    """Hooks of a device's child process."""
