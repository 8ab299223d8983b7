"""How a task ends in the parent: by the outcome that its child reports, or because the child is gone."""

from bot.errors import EaselError, EngineTimeout, JobCancelled, ModelUnavailable, WorkerLost
from inference.ipc import messages
from inference.pool.plugin_watch import Blamed
from inference.pool.watchdog import Hung, TaskHandle


def error_of_loss(
    handle: TaskHandle, hung: Hung, *, is_alone: bool, blamed: Blamed, job_timeout_s: float
) -> EaselError:
    """Of a task whose child has ended. `blamed`: the plugin that ended it."""
    if blamed.plugin:
        return WorkerLost(was_alone=False, detail=hung.reason, plugin=blamed.plugin, plugin_reason=blamed.reason)
    if handle.stop_deadline is not None:
        return EngineTimeout(job_timeout_s, hung.reason)
    if hung.stuck_model == handle.task.model.name:
        return ModelUnavailable(hung.stuck_model, hung.reason)
    return WorkerLost(was_alone=is_alone and handle.is_accepted, detail=hung.reason)


def reported_outcome(handle: TaskHandle, outcome: object, job_timeout_s: float) -> messages.TaskResult | EaselError:
    match outcome:
        case messages.TaskResult():
            return outcome
        case messages.PackedError():
            return messages.unpack_error(outcome)
    return EngineTimeout(job_timeout_s) if handle.stop_deadline is not None else JobCancelled()
