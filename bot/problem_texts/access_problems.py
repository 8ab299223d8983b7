"""Why somebody may not use the server: sentences by the problem of an `Unauthorized`."""

from collections.abc import Mapping

from bot.i18n import N_

UNAUTHORIZED: Mapping[str, str] = {
    "key": N_(
        "This needs a valid API key: send it as Authorization: Bearer KEY. "
        "The owner makes one with `easel keys create`."
    ),
    "wrong_key": N_(
        "This is not a valid API key. Check that all of it was copied; the owner makes one with `easel keys create`."
    ),
    "link": N_("This link was used before or has expired. Ask an admin of this server for another one."),
    "signed_out": N_("Sign in with your API key first."),
    "session": N_("Your session has ended. Sign in again with your API key."),
    "locked": N_(
        "This server stays locked because it has had an API key. On its machine, the owner can create another one with "
        "`easel keys create`, or run `easel keys unlock`."
    ),
    "host": N_("Without an API key, this server only answers on its loopback address."),
    "origin": N_("Other websites cannot use this server without an API key."),
    "forwarded": N_(
        "Requests through a proxy, and those in HTTP/1.0, need an API key: the owner can create one with "
        "`easel keys create`."
    ),
}
