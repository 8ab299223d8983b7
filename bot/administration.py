"""`/admin` of the chats: one order in, one text out. Who is an admin, each adapter says."""

import difflib
from dataclasses import dataclass, field

from bot import admin_texts
from bot.errors import InvalidOption, ModelRefused
from bot.sentences import N_
from bot.usecases import UseCases

WHATS = ("models",)
ACTIONS = ("use", "stop", "remove")
ACCEPT = frozenset({"--accept", "\u2014accept", "accept"})
ADMIN = N_("for admins: the models of this house")


@dataclass(frozen=True, kw_only=True)
class Order:
    """`/admin WHAT ACTION NAME --accept`, as options or as it is typed."""

    what: str = ""
    action: str = ""
    name: str = ""
    accepts: bool = False
    locale: str = "en"

    @classmethod
    def read(cls, words: str, locale: str = "en") -> "Order":
        """Raises: InvalidOption."""
        parts = words.casefold().split()
        named = [part for part in parts if part not in ACCEPT]
        if len(named) > 3:
            raise InvalidOption("admin", "type", value=words, allowed="models use NAME")
        what, action, name = [*named, "", "", ""][:3]
        return cls(what=what, action=action, name=name, accepts=len(named) < len(parts), locale=locale)


@dataclass(frozen=True)
class Administration:
    usecases: UseCases = field(repr=False)

    async def perform(self, order: Order) -> str:
        """Raises: UserError."""
        if order.what not in ("", *WHATS):
            raise _unknown("what", order.what, WHATS)
        if not order.action:
            return await self._models(order.locale)
        if order.action not in ACTIONS:
            raise _unknown("action", order.action, ACTIONS)
        if not order.name:
            raise InvalidOption("name", "missing")
        match order.action:
            case "use":
                return await self._use(order)
            case "stop":
                await self.usecases.choosing.stop(order.name)
                return await self._models(order.locale)
        freed = await self.usecases.catalogue.remove(order.name)
        return admin_texts.say_removed(order.name, freed, order.locale)

    async def _models(self, locale: str) -> str:
        using = self.usecases.choosing
        known = [*using.models, *using.models.presets]
        failed = [one for spec in known if (one := using.standing(spec.name)) is not None]
        return admin_texts.say_rows(using.models, await using.fits(), failed, using.files.additions(), locale)

    async def _use(self, order: Order) -> str:
        using = self.usecases.choosing
        try:
            begun = await using.use(order.name, accepted=order.accepts)
        except ModelRefused as refused:
            if refused.problem != "licence":
                raise
            return admin_texts.say_terms(await using.terms(order.name), order.locale)
        return admin_texts.say_begun(begun, order.locale)


def _unknown(option: str, value: str, known: tuple[str, ...]) -> InvalidOption:
    near = difflib.get_close_matches(value, known, 1)
    return InvalidOption(option, "choice", value=value, allowed=", ".join(known), nearest=near[0] if near else "")
