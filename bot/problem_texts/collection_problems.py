"""Why a collection is not made or renamed."""

from collections.abc import Mapping

from bot.i18n import N_

COLLECTION_PROBLEMS: Mapping[str, str] = {
    "collection_name": N_("You already have a collection called {value}: choose another name."),
    "collections_full": N_("You have {allowed} collections, and there cannot be more: delete one first."),
}
