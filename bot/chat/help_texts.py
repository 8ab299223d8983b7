"""What people read about the bot itself: models, help, the welcome, and hints at what they can do."""

from collections.abc import Sequence

from bot.chat.arguments import TYPED, CommandStyle
from bot.commands import COMMANDS
from bot.commands.upscale import describe_upscaling
from bot.i18n import N_, translator
from bot.models import TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING, ModelRegistry

EXAMPLES = ("a red fox", "a green apple")
"""Prompts that /start suggests; models read English."""
ABOUT = N_("Easel makes pictures from words and answers questions about pictures.")
ALL_COMMANDS = N_("All commands: /help")
REPLY_TO_ASK = N_("Reply to a picture with a question to ask about it.")
MADE_BY_A_BOT = N_("All pictures here are made by a bot: no person drew them, and they may be wrong.")


def format_models(models: ModelRegistry, locale: str = "en") -> str:
    translate = translator(locale)
    lines = []
    for spec in models:
        tasks = ", ".join(translate(task) for task in spec.tasks)
        demo = f" ({translate('demo')})" if spec.demo else ""
        upscaling = describe_upscaling(spec, translate)
        lines.append(f"{spec.name}: {tasks}{demo}{f'; {upscaling}' if upscaling else ''}")
    return "\n".join(lines) or translate("No models are installed yet.")


def format_help(menu: Sequence[tuple[str, str]], locale: str = "en", *, style: CommandStyle = TYPED) -> str:
    """Every command of a menu with its help. It says that a bot makes the pictures."""
    translate = translator(locale)
    lines = [translate(ABOUT), "", *(f"/{name}: {text}" for name, text in menu), ""]
    if not style.names_options:
        example = style.write("imagine", {"prompt": "a fox"}, style="ink", count="2", aspect="3:2")
        lines.append(translate("Add options as flags, for example: {example}").format(example=example))
    return "\n".join([*lines, translate(REPLY_TO_ASK), translate(MADE_BY_A_BOT)])


def format_welcome(locale: str = "en", *, style: CommandStyle = TYPED) -> str:
    translate = translator(locale)
    examples = [style.write("imagine", {"prompt": prompt}) for prompt in EXAMPLES]
    return "\n".join(
        [
            translate(ABOUT),
            "",
            translate("For example:"),
            *examples,
            "",
            translate(ALL_COMMANDS),
            translate(MADE_BY_A_BOT),
        ]
    )


def format_hint(models: ModelRegistry, locale: str = "en", *, style: CommandStyle = TYPED) -> str:
    """What to write to the bot, as far as its models can do it."""
    translate, lines = translator(locale), []
    if models.default_for(TEXT_TO_IMAGE) is not None:
        example = style.write("imagine", {"prompt": EXAMPLES[0]})
        lines.append(translate("To get a picture, type for example: {example}").format(example=example))
    if models.default_for(VISUAL_QUESTION_ANSWERING) is not None:
        lines.append(translate("To ask about a picture, send it with your question."))
    return "\n".join([*lines, translate(ALL_COMMANDS)])


def format_photo_hint(models: ModelRegistry, locale: str = "en", *, style: CommandStyle = TYPED) -> str:
    """What to reply to a photo, as far as the models can do it."""
    translate = translator(locale)
    able = [
        f"/{name}"
        for name, command in COMMANDS.items()
        if command.images_needed == 1 and name != "ask" and _can_run(command.name, models)
    ]
    can_ask = models.default_for(VISUAL_QUESTION_ANSWERING) is not None
    if not able:
        return translate(REPLY_TO_ASK) if can_ask else format_hint(models, locale, style=style)
    sentence = (
        translate("Reply to it with a question, or with one of these: {commands}.")
        if can_ask
        else translate("Reply to it with one of these: {commands}.")
    )
    return sentence.format(commands=", ".join(able))


def _can_run(command: str, models: ModelRegistry) -> bool:
    kind = COMMANDS[command]
    return models.default_for(kind(values={}).task) is not None and any(map(kind.fits_model, models.installed()))
