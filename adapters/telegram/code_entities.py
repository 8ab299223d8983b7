"""Command lines in the type of code, by entities: no text is parsed for markup."""

from telegram import MessageEntity

from adapters.telegram.text_limits import utf16_length
from bot.chat.command_lines import split_command_lines


def mark_commands(text: str) -> tuple[str, list[MessageEntity] | None]:
    """The text without the backticks of its command lines, and an entity for each; None: there are none."""
    plain, entities = "", []
    for number, part in enumerate(split_command_lines(text)):
        if number % 2:
            entities.append(MessageEntity(MessageEntity.CODE, utf16_length(plain), utf16_length(part)))
        plain += part
    return plain, entities or None
