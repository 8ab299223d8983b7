"""Sentences that only Discord needs; all others are the core's. Marked here, said by `chat_texts.say_text`."""

from bot.i18n import N_

REQUESTED_BY = N_("for {person}")
CANNOT_POST_HERE = N_(
    "I may not post in this channel (missing: {missing}), so this message becomes the answer. "
    "After 14 minutes it comes as a private message, else with /show {id}."
)
NOT_INSTALLED = N_("I am not a member here")
IMAGE_HIDDEN = N_(
    "I cannot see a picture there. On somebody else's message, open Apps and choose \u201c{menu}\u201d: "
    "that always works."
)
IMAGE_UNAVAILABLE = N_("I could not fetch the picture: send it again.")
NOTHING_TO_ASK_ABOUT = N_("There is no picture to ask about here yet.")
TOO_LARGE_TO_SEND = N_("The file is larger than Discord takes here ({size} MiB): get it on Easel's own page.")
UNKNOWN_COMMAND = N_("I do not know this command any more: type / to see those that there are.")
FORGET_FIRST = N_("To go on, use /privacy forget again with confirm set to True.")
SETTING_NEEDS_OPTION = N_("Say which option the value is for.")

ASK_ABOUT, CAPTION_THIS = N_("Ask about this image"), N_("Caption this image")
VARY_THIS = N_("Vary this image")
"""The message menus, by the names that INTERFACES gives them; people see them in their language."""
