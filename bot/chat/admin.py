"""/admin: models, what is shown in a place, and unloading. Each adapter says who is an admin."""

from collections.abc import Mapping
from typing import Any

from bot.chat import admin_texts
from bot.chat.arguments import ChatOption, OptionKind, Suggestion, unknown_choice
from bot.chat.replies import ChatContext, ChatReply
from bot.errors import AdminsOnly, InvalidOption, ModelRefused
from bot.i18n import N_, translator
from bot.memory.weights import LONG_DTYPES, NUMBER_FORMATS
from bot.models import ModelRegistry
from bot.safety import Policy
from bot.usecases.adapter_views import adapter_rows

MODELS, POLICY, UNLOAD = "models", "policy", "unload"
SUBJECTS = (MODELS, POLICY, UNLOAD)
USE, OPTIMIZE, TORCH, CANCEL, REMOVE = "use", "optimize", "torch", "cancel", "remove"
ACTIONS = (USE, OPTIMIZE, TORCH, CANCEL, REMOVE)
OLD_NAMES = {"release": UNLOAD, "stop": CANCEL}
DEFAULT = "default"
POLICIES = (*(policy.value for policy in Policy), DEFAULT)
OPTIONS = (
    ChatOption(
        name="what",
        help=N_("models: list or install them; policy: what may be shown here; unload: free memory"),
        choices=SUBJECTS,
        aliases=OLD_NAMES,
    ),
    ChatOption(
        name="action",
        help=N_("use, optimize, torch, cancel or remove a model; block, spoiler, allow or default for a policy"),
        suggests=Suggestion.ADMIN_ACTION,
    ),
    ChatOption(name="model", help=N_("Which model"), suggests=Suggestion.MODEL),
    ChatOption(
        name="accept",
        help=N_("True: I have read the licence and accept it; or switch to what was compiled"),
        kind=OptionKind.FLAG,
    ),
    ChatOption(
        name="weights",
        help=N_("With use or optimize: the number format of the model's weights"),
        is_named=True,
        choices=NUMBER_FORMATS["quantize"],
    ),
    ChatOption(
        name="precision",
        help=N_("With use or optimize: what the model computes in"),
        is_named=True,
        choices=NUMBER_FORMATS["dtype"],
        aliases=LONG_DTYPES,
    ),
    ChatOption(
        name="adapter",
        help=N_("With use: only switch to this adapter of the model, or to none"),
        is_named=True,
    ),
    ChatOption(name="edit_others", help=N_("Whether pictures posted by others may be edited"), kind=OptionKind.YES_NO),
)


def suggested_actions(subject: str | None) -> tuple[str, ...]:
    return POLICIES if subject == POLICY else ACTIONS


def model_names(models: ModelRegistry) -> list[str]:
    """Every name that the option `model` accepts."""
    return [spec.name for spec in models.all_specs]


async def run_admin_command(ctx: ChatContext, options: Mapping[str, Any]) -> ChatReply:
    """Raises: UserError: AdminsOnly among them."""
    if not ctx.origin.is_admin or ctx.person.is_blocked:
        raise AdminsOnly
    action = str(options.get("action", "")).casefold()
    match options.get("what"):
        case "policy":
            text = await _change_policy(ctx, action, options.get("edit_others"))
        case "unload":
            text = admin_texts.format_unloaded(await ctx.usecases.model_manager.unload_idle_models(), ctx.locale)
        case _:
            text = await _manage_models(ctx, OLD_NAMES.get(action, action), options)
    return ChatReply(text=text)


async def _manage_models(ctx: ChatContext, action: str, options: Mapping[str, Any]) -> str:
    name = str(options.get("model", "")).casefold()
    if action not in ("", *ACTIONS):
        raise unknown_choice("action", action, ACTIONS)
    if action and not name:
        raise InvalidOption("model", "missing")
    match action:
        case "use" if options.get("adapter"):
            spec = await ctx.usecases.adapters.use(name, str(options["adapter"]))
            return admin_texts.format_adapter(spec, ctx.locale)
        case "use":
            return await _use_model(ctx, name, _formats(options), is_accepted=options.get("accept") is True)
        case "optimize" | "torch":
            return await _optimize_model(ctx, name, action, _formats(options), switch=options.get("accept") is True)
        case "remove":
            freed = await ctx.usecases.catalogue.remove_model(name)
            return admin_texts.format_removed(name, freed, ctx.locale)
        case "cancel":
            await ctx.usecases.model_manager.cancel_install(name)
    return await _list_models(ctx)


async def _list_models(ctx: ChatContext) -> str:
    manager, adapters = ctx.usecases.model_manager, ctx.usecases.adapters
    installations = [one for spec in manager.models.all_specs if (one := manager.status(spec.name)) is not None]
    return admin_texts.format_model_list(
        manager.models,
        await manager.estimate_fits(),
        installations,
        ctx.usecases.catalogue.list_addons(),
        await ctx.usecases.optimizer.find_executions(),
        ctx.locale,
        adapters=adapter_rows(await adapters.refresh(), manager.models, adapters.data_dir, translator(ctx.locale)),
        style=ctx.style,
    )


def _formats(options: Mapping[str, Any]) -> dict[str, Any]:
    """The number formats that were asked for."""
    return {name: options[name] for name in ("weights", "precision") if name in options}


async def _use_model(ctx: ChatContext, name: str, formats: Mapping[str, Any], *, is_accepted: bool) -> str:
    manager = ctx.usecases.model_manager
    try:
        installation = await manager.use_model(name, licence_accepted=is_accepted, **formats)
    except ModelRefused as refused:
        if refused.problem != "licence":
            raise
        terms = await manager.get_terms(name, **formats)
        return admin_texts.format_terms(terms, ctx.locale, formats=formats, style=ctx.style)
    return admin_texts.format_install_started(installation, ctx.locale, style=ctx.style)


async def _optimize_model(ctx: ChatContext, name: str, action: str, formats: Mapping[str, Any], *, switch: bool) -> str:
    """Compile a model, switch to what was compiled, or go back to torch."""
    how = {"backend": TORCH} if action == TORCH else formats
    installation = await ctx.usecases.optimizer.optimize(name, switch=switch, **how)
    return admin_texts.format_optimization(installation, ctx.locale, style=ctx.style)


async def _change_policy(ctx: ChatContext, policy: str, edit_others: bool | None) -> str:
    moderation, origin = ctx.usecases.moderation, ctx.origin
    if policy not in ("", *POLICIES):
        raise unknown_choice("policy", policy, POLICIES)
    if policy or edit_others is not None:
        rules = await moderation.set_policy(
            is_admin=True,
            platform=origin.platform,
            space_id=origin.space_id,
            policy=policy or None,
            edit_others=edit_others,
        )
    else:
        rules = await moderation.space_rules(origin.platform, origin.space_id)
    return admin_texts.format_policy(rules, ctx.locale, style=ctx.style)
