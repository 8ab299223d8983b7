"""`/admin` of the chats: one order in, one text out. Who is an admin, each adapter says."""

import difflib
from dataclasses import dataclass, field

from bot.chat import admin_texts
from bot.errors import AdminsOnly, InvalidOption, ModelRefused
from bot.models import Models
from bot.safety import Policy
from bot.usecases import UseCases

MODELS, POLICY, RELEASE = "models", "policy", "release"
WHATS = (MODELS, POLICY, RELEASE)
USE, STOP, REMOVE = "use", "stop", "remove"
ACTIONS = (USE, STOP, REMOVE)
DEFAULT = "default"
POLICIES = (*(policy.value for policy in Policy), DEFAULT)
ACCEPT = frozenset({"--accept", "\u2014accept"})
EDIT_OTHERS = frozenset({"--edit-others", "--edit_others", "\u2014edit-others"})
YES_NO = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}


@dataclass(frozen=True, kw_only=True)
class Order:
    """`/admin models ACTION NAME --accept`, `/admin policy POLICY --edit-others yes` or `/admin release`, as options or
    as it is typed.

    `edit_others` is None where nothing was said.
    """

    what: str = ""
    action: str = ""
    name: str = ""
    accepts: bool = False
    edit_others: bool | None = None
    locale: str = "en"

    @classmethod
    def read(cls, words: str, locale: str = "en") -> "Order":
        """Raises: InvalidOption."""
        named: list[str] = []
        accepts, edit_others = False, None
        parts = iter(words.casefold().replace("=", " ").split())
        for part in parts:
            if part in ACCEPT:
                accepts = True
            elif part in EDIT_OTHERS:
                edit_others = _yes_or_no(next(parts, ""))
            else:
                named.append(part)
        if len(named) > 3:
            raise InvalidOption("admin", "choice", value=words, allowed="models use NAME, policy spoiler")
        what, action, name = [*named, "", "", ""][:3]
        return cls(what=what, action=action, name=name, accepts=accepts, edit_others=edit_others, locale=locale)


def _yes_or_no(word: str) -> bool:
    if word not in YES_NO:
        raise InvalidOption("edit-others", "choice", value=word, allowed="yes, no")
    return YES_NO[word]


def names_of(models: Models) -> list[str]:
    """What `name` can be."""
    return [spec.name for spec in models.known]


@dataclass(frozen=True)
class Administration:
    usecases: UseCases = field(repr=False)

    async def perform(self, order: Order, *, is_admin: bool, platform: str, space_id: str) -> str:
        """Raises: UserError: AdminsOnly among them."""
        if not is_admin:
            raise AdminsOnly
        if order.what not in ("", *WHATS):
            raise _unknown("what", order.what, WHATS)
        if order.what == POLICY:
            return await self._policy(order, platform, space_id)
        if order.what == RELEASE:
            return admin_texts.say_freed(await self.usecases.choosing.release(), order.locale)
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
        failed = [one for spec in using.models.known if (one := using.standing(spec.name)) is not None]
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

    async def _policy(self, order: Order, platform: str, space_id: str) -> str:
        moderation = self.usecases.moderation
        if order.action not in ("", *POLICIES):
            raise _unknown("policy", order.action, POLICIES)
        if order.action or order.edit_others is not None:
            rules = await moderation.set_policy(
                is_admin=True,
                platform=platform,
                space_id=space_id,
                policy=order.action or None,
                edit_others=order.edit_others,
            )
        else:
            rules = await moderation.describe(platform, space_id)
        return admin_texts.say_policy(rules, order.locale)


def _unknown(option: str, value: str, known: tuple[str, ...]) -> InvalidOption:
    near = difflib.get_close_matches(value, known, 1)
    return InvalidOption(option, "choice", value=value, allowed=", ".join(known), nearest=near[0] if near else "")
