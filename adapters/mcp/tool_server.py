"""The library's server with Easel's tools and, as resources, a person's pictures."""

import base64
from collections.abc import Awaitable, Callable
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    BlobResourceContents,
    CallToolRequestParams,
    CallToolResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    Tool,
)

from adapters.mcp.tool_answers import picture_uri
from adapters.mcp.tool_backend import Body, ToolBackend
from adapters.mcp.tool_calls import ToolCalls
from adapters.mcp.tool_errors import ToolRefused, error_sentence
from adapters.mcp.tool_images import (
    IMAGE_RESOURCE,
    RESOURCE,
    find_picture,
    parse_picture_name,
    require_media_id,
)
from adapters.mcp.tool_schemas import command_tool, is_available, look_up_tools

INSTRUCTIONS = (
    "Easel makes images and answers questions about them with its owner's models. Each call becomes a job with an id. "
    "If a call takes long, it answers with the id: call `job` with it to wait for the result. An image of a job can be "
    "the input of another tool as easel://job/ID/NUMBER."
)
_LISTED_JOBS = 50
_TITLE = 80
Context = ServerRequestContext[Any, Any]
ListCommands = Callable[[], Awaitable[list[Body]]]
IsEnding = Callable[[Context], bool]
"""Whether the connection of a call ends."""


def build_server(calls: ToolCalls, list_commands: ListCommands, version: str, is_ending: IsEnding) -> Server[Any]:
    """`list_commands`: the bodies of `GET /commands`."""
    resources = PictureResources(calls)

    async def list_tools(_context: Context, _params: PaginatedRequestParams | None) -> ListToolsResult:
        try:
            commands = await list_commands()
        except Exception as error:
            raise _protocol_error(error) from None
        tools = [command_tool(one, reads_files=calls.read_file is not None) for one in commands if is_available(one)]
        return ListToolsResult(tools=[Tool.model_validate(tool) for tool in [*tools, *look_up_tools()]])

    async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
        arguments, progress = params.arguments or {}, context.session.report_progress
        return await calls.call(params.name, arguments, progress, lambda: is_ending(context))

    return Server(
        "easel",
        title="Easel",
        version=version,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=resources.list_pictures,
        on_list_resource_templates=resources.list_templates,
        on_read_resource=resources.read_picture,
    )


class PictureResources:
    """A person's pictures as `easel://job/ID/NUMBER`."""

    def __init__(self, calls: ToolCalls) -> None:
        self._open_backend = calls.open_backend

    async def list_pictures(self, _context: Context, params: PaginatedRequestParams | None) -> ListResourcesResult:
        try:
            async with self._open_backend() as backend:
                before = params.cursor if params is not None else None
                jobs, following = await _list_page(backend, before)
        except Exception as error:
            raise _protocol_error(error) from None
        pictures = [
            _resource(job, number, media)
            for job in jobs
            for number, media in enumerate((job["result"] or {}).get("media", ()), 1)
            if media is not None
        ]
        return ListResourcesResult(resources=pictures, next_cursor=following)

    async def list_templates(
        self, _context: Context, _params: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        description = "A picture of one of your jobs, by the job's id and the picture's number, from 1"
        template = ResourceTemplate(
            name="picture", uri_template=f"{RESOURCE}{{id}}/{{number}}", description=description
        )
        return ListResourceTemplatesResult(resource_templates=[template])

    async def read_picture(self, _context: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
        uri = str(params.uri)
        try:
            async with self._open_backend() as backend:
                media = await backend.read_image(await _find_image_id(backend, uri))
        except Exception as error:
            raise _protocol_error(error) from None
        assert media is not None
        blob = base64.b64encode(media.data).decode("ascii")
        return ReadResourceResult(contents=[BlobResourceContents(uri=uri, mime_type=media.media_type, blob=blob)])


async def _find_image_id(backend: ToolBackend, uri: str) -> str:
    """Raises: EaselError."""
    if uri.startswith(IMAGE_RESOURCE):
        return require_media_id(uri.removeprefix(IMAGE_RESOURCE))
    if not uri.startswith(RESOURCE):
        raise ToolRefused(f"Resources are {RESOURCE}ID/NUMBER.")
    return (await find_picture(backend, *parse_picture_name(uri.removeprefix(RESOURCE)))).id


async def _list_page(backend: ToolBackend, before: str | None) -> tuple[list[Body], str | None]:
    """Raises: EaselError."""
    if before is not None:
        before, _ = parse_picture_name(before)
    return await backend.list_jobs("", before=before, limit=_LISTED_JOBS)


def _resource(job: Body, number: int, media: Body) -> Resource:
    words = str(job["options"].get("prompt") or job["command"])
    title = words if len(words) <= _TITLE else f"{words[: _TITLE - 1]}…"
    return Resource(
        uri=picture_uri(job["id"], number),
        name=f"{job['id']}/{number}",
        title=title,
        description=media["alt"] or None,
        mime_type=media["media_type"],
    )


def _protocol_error(error: BaseException) -> MCPError:
    return MCPError(code=INVALID_PARAMS, message=error_sentence(error))
