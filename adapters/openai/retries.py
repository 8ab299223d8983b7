"""Which calls are repeated: OpenAI's clients count their tries in a header and send no idempotency key."""

from starlette.requests import Request

_HEADER = "x-stainless-retry-count"


def is_retry(request: Request) -> bool:
    count = request.headers.get(_HEADER, "").strip()
    return count.isdecimal() and int(count[:9]) > 0
