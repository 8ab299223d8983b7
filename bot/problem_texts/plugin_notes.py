"""What plugins leave on a job's result."""

from bot.i18n import N_

NO_EFFECT = N_("A plugin had no effect: {words}")
