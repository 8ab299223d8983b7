"""Why a collection cannot be created or renamed."""

from collections.abc import Mapping

from bot.i18n import N_

COLLECTION_PROBLEMS: Mapping[str, str] = {
    "collection_name": N_("You already have a collection called {value}. Choose another name."),
    "collections_full": N_("You have {allowed} collections, which is the limit. Delete one first."),
}
