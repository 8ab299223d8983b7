"""Sentences that only Discord needs; all others are the core's. Marked here, formatted by `chat_texts.format_text`."""

from collections.abc import Mapping

from bot.i18n import N_

REQUESTED_BY = N_("for {person}")
CANNOT_POST_HERE = N_(
    "I can't post in this channel (missing: {missing}), so I'll answer in this message for up to 14 minutes, then by "
    "private message. You can also use {show}."
)
NOT_A_MEMBER = N_(
    "I'm not a member here, so I'll answer in this message for up to 14 minutes, then by private message. "
    "You can also use {show}."
)
IMAGE_HIDDEN = N_(
    "I can't see a picture there. On a message of somebody else, open Apps and choose \u201c{menu}\u201d: "
    "that always works."
)
MESSAGE_HIDDEN = N_(
    "Discord doesn't show me a message that mentions only my role. Mention me by my name, or type / for my commands."
)
IMAGE_UNAVAILABLE = N_("I couldn't download the picture. Please send it again.")
NOTHING_TO_ASK_ABOUT = N_("There is no picture here to ask about yet.")
TOO_LARGE_TO_SEND = N_("The file exceeds Discord's upload limit here ({size} MiB). Download it from Easel's own page.")
UNKNOWN_COMMAND = N_("I no longer have that command. Type / to see the current ones.")
FORM_LABELS: Mapping[str, str] = {
    "ask": N_("Your question"),
    "edit": N_("What to change"),
    "vary": N_("Prompt for the variation"),
    "region": N_("The part to change"),
    "remix": N_("The new prompt"),
    "style": N_("What to draw in this style"),
    "subject": N_("What to draw with this subject"),
    "report": N_("What is wrong with it? (optional)"),
}
"""Above the field of a form, by its action; at most 45 characters."""
REGION_LABEL = N_("What to paint there")
"""Above the second field of the form about a part of a picture."""

ASK_ABOUT, CAPTION_THIS = N_("Ask about this image"), N_("Caption this image")
VARY_THIS, REPORT_THIS = N_("Vary this image"), N_("Report")
"""The message menus, by the names that INTERFACES gives them; people see them translated."""
