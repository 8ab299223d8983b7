"""Schemas of the REST bodies, as shown by OpenAPI. Unknown fields are refused."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from adapters.web.correction_schemas import CorrectionInfo
from bot.ports import Phase

MAX_IMAGES = 32
MAX_EXPORTED = 1000


class _StrictBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ImageBody(_StrictBody):
    id: str = Field(description="The id from POST /media, or of a result's image")
    role: str | None = Field(None, description="init, mask, control or reference; default: the command's first role")
    kind: str = Field(
        "",
        description="Of a control: canny, lineart, scribble, depth, pose or tile. Of a reference: style or subject, "
        "or empty for the model's own use",
        max_length=60,
    )
    weight: float = Field(1.0, description="How much a control or a reference counts, 0 to 2")
    start: float = Field(0.0, description="Of a control: from which share of the steps it counts, 0 to 1")
    end: float = Field(1.0, description="Of a control: until which share of the steps it counts, 0 to 1")
    ready: bool = Field(False, description="Of a control: the image is already such a map")


class JobBody(_StrictBody):
    command: str = Field(description="A name from GET /commands", examples=["imagine"])
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Option values; GET /commands lists them. Omitted options use the model's defaults",
        examples=[{"prompt": "a red circle on a blue background", "seed": 7}],
    )
    images: list[ImageBody | str] = Field(
        default_factory=list, description='"<id>" or {"id": "<id>", "role": "init"}', max_length=MAX_IMAGES
    )
    quote: str | None = Field(None, description="From POST /quotes, to confirm a prompt with several combinations")
    parent: str | None = Field(None, description="The job this one follows from")
    webhook: str | None = Field(
        None, description="A webhook in the server's config, by its name: it is told how each job ended", max_length=64
    )

    @field_validator("images", mode="before")
    @classmethod
    def _as_objects(cls, images: object) -> object:
        if isinstance(images, list):
            return [{"id": image} if isinstance(image, str) else image for image in images]
        return images


class PictureBody(_StrictBody):
    job: str
    n: int = Field(description="The image's number in its job, from 1", ge=1, le=1000)


class ExportBody(_StrictBody):
    jobs: list[str] | None = Field(None, description="Null, without pictures: all jobs", max_length=MAX_EXPORTED)
    pictures: list[PictureBody] = Field(default_factory=list, max_length=MAX_EXPORTED)


class EraseBody(_StrictBody):
    jobs: list[str] = Field(
        default_factory=list, description="Jobs with all of their pictures", max_length=MAX_EXPORTED
    )
    pictures: list[PictureBody] = Field(default_factory=list, max_length=MAX_EXPORTED)


class SessionBody(_StrictBody):
    key: str = Field(description="From `easel keys create`, or the end of a one-time link", max_length=200)


class SessionInfo(BaseModel):
    person: str
    is_admin: bool
    via: str = Field(description="session, key or local")


class CollectionBody(_StrictBody):
    name: str = Field(description="1 to 80 characters")


class NewKeyBody(_StrictBody):
    person: str | None = None
    admin: bool = False


class AdminKeyBody(_StrictBody):
    person: str | None = Field(None, description="Name of a new person; null: the caller")
    admin: bool = False
    name: str | None = Field(None, description="What the key is for")


class QuotaBody(_StrictBody):
    limit: float | None = Field(description="Device-seconds a day; null: the configured quota")


class ReportActionBody(_StrictBody):
    action: str = Field(description="dismiss or delete")


class ForgetBody(_StrictBody):
    confirm: bool = Field(False, description="true: yes, delete everything about me")
    linked: bool = Field(False, description="true: also everything of my linked accounts")


class BackupBody(_StrictBody):
    path: str


class MediaInfo(BaseModel):
    id: str
    media_type: str
    width: int
    height: int
    parameters: dict[str, Any] | None = Field(
        description="What the file says of its generation: `source`, `command` and `options`. `fitted` are the options "
        "that a job without an image accepts here, and `notes` tell what differs. A job with `options` as they are is "
        "accepted as well: what is not possible is changed in the same way, and the result's `notes` tell it"
    )


class ResultMedia(BaseModel):
    id: str
    url: str
    media_type: str
    width: int
    height: int
    alt: str
    spoiler: bool
    seed: int | None
    score: float | None = Field(
        default=None,
        description="Of pictures that were compared (`best`): the probability, by the model that judged them, that it "
        "shows the prompt. They are in this order, the best first",
    )
    favourite: bool
    collections: list[str] = Field(description="The ids of the collections that it is in")


class ResultInfo(BaseModel):
    media: list[ResultMedia | None] = Field(description="A deleted image keeps its place as null")
    text: str | None
    seed: int | None
    model: str
    revision: str
    seconds: float
    parameters: str
    notes: list[str]


class ErrorInfo(BaseModel):
    code: str
    message: str
    incident: str | None


class ProgressInfo(BaseModel):
    phase: Phase = Field(description="waiting (also in the queue), loading (the model), running or finishing")
    step: int
    steps: int = Field(description="0 while it is unknown, and while what the job needs first is made, such as a map")
    text: str | None = Field(None, description="The answer so far, of a job that answers in words")


class ImageInfo(BaseModel):
    """An input image as it was given; see `ImageBody`."""

    id: str
    role: str
    kind: str
    weight: float
    start: float
    end: float
    ready: bool


class InstallProgressInfo(BaseModel):
    """Progress of installing the model that a queued job needs, in bytes.

    `stage` is downloading, checking, loading or trying.
    """

    title: str
    stage: str
    done: int
    total: int
    rate: float
    eta_s: float | None


class LoraUseInfo(BaseModel):
    name: str
    weight: float | None


class FactsInfo(BaseModel):
    """How the job was done; null: it has none, or that is not known yet."""

    platform: str = Field(description="web, cli, discord or telegram")
    client: str | None = Field(description="The other program's API that it came through")
    cell: str | None = Field(description="Of a grid: its column and row, as b2, after the number of its sheet: 1b2")
    queue_s: float | None = Field(description="Seconds that it waited for a device")
    took_s: float | None = Field(description="Seconds from then to its end, with loading its model")
    device: str | None
    device_s: float | None = Field(description="Seconds of the device's time")
    style: str | None
    loras: list[LoraUseInfo]
    sampler: str | None
    schedule: str | None
    steps: int | None
    guidance_scale: float | None
    strength: float | None


class JobInfo(BaseModel):
    id: str
    command: str
    options: dict[str, Any]
    images: list[ImageInfo]
    state: str
    position: int | None
    eta_s: float | None
    progress: ProgressInfo | None
    install_progress: InstallProgressInfo | None = None
    result: ResultInfo | None
    correction: CorrectionInfo | None
    error: ErrorInfo | None
    facts: FactsInfo
    cost: float
    parent: str | None
    batch: str | None
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TicketInfo(BaseModel):
    id: str
    state: str
    position: int | None
    eta_s: float | None
    cost: float


class SheetInfo(BaseModel):
    id: str
    url: str
    media_type: str
    width: int
    height: int
    alt: str
    spoiler: bool
    z: int = Field(description="The place of its value on the axis z, from 0")


class AcceptedInfo(TicketInfo):
    """The first job; for a prompt with several combinations also `batch` and `jobs`, for a grid also its sheets."""

    batch: str | None = None
    jobs: list[TicketInfo] | None = None
    sheet: str | None = Field(None, description="Of a grid: the first sheet, null until its last job has ended")
    sheets: list[SheetInfo] | None = None


class TokensInfo(BaseModel):
    tokens: int
    limit: int | None = Field(description="Tokens that the model reads; of a model that splits prompts, in each chunk")
    chunks: int
    unread: int = Field(description="Tokens at the end that the model does not read")


class QuoteInfo(BaseModel):
    jobs: int
    cost: float
    eta_s: float | None
    quote: str
    tokens: dict[str, TokensInfo | None] = Field(
        description="Of `prompt` and `negative_prompt`, with styles and wildcards; null: unknown"
    )


class JobPage(BaseModel):
    jobs: list[JobInfo]
    next: str | None
    total: int = Field(description="The number of such jobs on all pages")


class FoundJobPage(JobPage):
    """Of a search by meaning."""

    refined: bool = Field(description="Whether the order is final; false: ask again with `refine`")


class CollectionInfo(BaseModel):
    id: str
    name: str
    count: int = Field(description="Its pictures")
    cover: str | None = Field(description="The id of the image that was added last; null: there is none")
    created_at: datetime


class CollectionPage(BaseModel):
    collections: list[CollectionInfo]
    total: int


class AxisInfo(BaseModel):
    axis: str = Field(description="x, y or z")
    option: str = Field(description="An option of imagine or edit, lora:NAME or control:KIND")
    title: str = Field(description="The option as it is called on the sheet")
    values: list[Any] = Field(description="Null: all of its cells are deleted")
    labels: list[str]


class CellInfo(BaseModel):
    name: str = Field(description="Its column and row, as b2, after the number of its sheet: 1b2")
    x: int = Field(description="The place of its value on the axis, from 0; 0 if there is no such axis")
    y: int
    z: int
    job: str | None = Field(description="Null: it is deleted")


class BatchInfo(BaseModel):
    batch: str
    kind: str = Field(description="prompts or grid")
    jobs: list[JobInfo]
    sheet: str | None = Field(description="The first of the sheets, if there is one")
    sheets: list[SheetInfo] = Field(description="Of a grid that has ended: one for each value of z that has a picture")
    axes: list[AxisInfo] = Field(description="Of a grid")
    cells: list[CellInfo] = Field(description="Of a grid: row by row and sheet by sheet, x changes fastest")


class QuotaInfo(BaseModel):
    limit: float | None
    used: float
    reserved: float
    unit: str = "device-seconds"
    resets_at: datetime


class LinkBody(_StrictBody):
    code: str | None = Field(None, description="From `/link` in a chat or from the page; omit it to get one")
    confirm: bool = Field(True, description="false: preview only, link nothing yet")


class LinkCodeInfo(BaseModel):
    code: str
    expires_at: datetime


class LinkedAccountInfo(BaseModel):
    platform: str = Field(description="discord, telegram, web (a person with API keys) or local")
    name: str
    account: str


class LinkedAccountsInfo(BaseModel):
    accounts: list[LinkedAccountInfo]


class LinkSideInfo(LinkedAccountsInfo):
    """`used` is today's and `limit` the daily quota, in device-seconds; a `limit` of null is unlimited."""

    jobs: int
    pictures: int
    used: float
    limit: float | None


class LinkInfo(BaseModel):
    """Usage is added up, and the larger limit applies."""

    linked: bool
    yours: LinkSideInfo
    other: LinkSideInfo
    used: float
    limit: float | None


class ProblemInfo(BaseModel):
    """RFC 9457, as `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
