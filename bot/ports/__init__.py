"""What the core needs from the outside, as Protocols, and the values they exchange."""

from bot.ports.downloads import Downloads, HubFile, Listing, Transfer, Wanted
from bot.ports.inbox import Inbox
from bot.ports.media import Delivery, Healthy, Learned, Maintenance, MediaStore, Outbox, Swept
from bot.ports.models import Addition, Choices, Kind, ModelFiles, OnTheWay
from bot.ports.people import ApiKey, Ledger, People, Person, Usage
from bot.ports.pictures import CleanPicture, Pictures
from bot.ports.platforms import Adapter, Platform
from bot.ports.pool import (
    Described,
    DeviceStatus,
    Done,
    Freed,
    Judge,
    Measured,
    Pool,
    Progress,
    Rendered,
    Task,
    TaskAddition,
    TaskImage,
    step_of,
)
from bot.ports.privacy import Privacy
from bot.ports.queue import Accepted, History, JobStore, Lane, Limits, NewJob, Offer, QueueView, Renewed, RequestKey
from bot.ports.safety import Classifier, Rules, SpacePolicy, Spaces

__all__ = [
    "Accepted",
    "Adapter",
    "Addition",
    "ApiKey",
    "Choices",
    "Classifier",
    "CleanPicture",
    "Delivery",
    "Described",
    "DeviceStatus",
    "Done",
    "Downloads",
    "Freed",
    "Healthy",
    "History",
    "HubFile",
    "Inbox",
    "JobStore",
    "Judge",
    "Kind",
    "Lane",
    "Learned",
    "Ledger",
    "Limits",
    "Listing",
    "Maintenance",
    "Measured",
    "MediaStore",
    "ModelFiles",
    "NewJob",
    "Offer",
    "OnTheWay",
    "Outbox",
    "People",
    "Person",
    "Pictures",
    "Platform",
    "Pool",
    "Privacy",
    "Progress",
    "QueueView",
    "Rendered",
    "Renewed",
    "RequestKey",
    "Rules",
    "SpacePolicy",
    "Spaces",
    "Swept",
    "Task",
    "TaskAddition",
    "TaskImage",
    "Transfer",
    "Usage",
    "Wanted",
    "step_of",
]
