"""What an admin reads in a chat about models: lists, terms, and how far one is. Plain text."""

from collections.abc import Sequence

from bot.chat.texts import say_arrival, say_duration
from bot.i18n import N_, Translate, translator
from bot.memory.fit import Fit
from bot.models import Models, ModelSpec
from bot.ports import Addition, Freed
from bot.usecases.models import Installation, Terms
from bot.usecases.moderation import SpaceRules

HOW_TO_USE = N_("Choose one with /admin models use NAME; give it up with stop, take it away with remove.")
ACCEPT_FIRST = N_("To accept that and go on, send it again with the option accept (as a flag: --accept).")


def say_rows(
    models: Models,
    fits: dict[str, Fit],
    failed: Sequence[Installation],
    additions: Sequence[Addition],
    locale: str = "en",
) -> str:
    """Every model with what it does, then the presets with what they take."""
    say = translator(locale)
    lines = [_in_use(models, spec, say) for spec in models]
    lines += [say("To choose from:"), *(_preset(spec, fits.get(spec.name), say) for spec in models.presets)]
    lines += [f"{one.name}: {one.kind} {one.family}".rstrip() for one in additions]
    lines += [f"{one.spec.called}: {one.error}" for one in failed if one.error]
    return "\n".join([*lines, say(HOW_TO_USE)])


def _in_use(models: Models, spec: ModelSpec, say: Translate) -> str:
    arrival = models.arrival(spec.name)
    if arrival is not None:
        return f"{spec.name}: {say_arrival(arrival, spec.called, say)}"
    tasks = [
        say("{task} (default)").format(task=say(task)) if models.default_for(task) is spec else say(task)
        for task in spec.tasks
    ]
    return f"{spec.name}: {', '.join(tasks)}"


def _preset(spec: ModelSpec, fits: Fit | None, say: Translate) -> str:
    told = [spec.called]
    if spec.download_mb:
        told.append(say("{size} GiB").format(size=f"{spec.download_mb / 1024:.1f}"))
    if fits is not None:
        told.append(_place(fits, say))
    if not spec.commercial:
        told.append(say("not for commercial use"))
    return f"{spec.name}: {', '.join(told)}"


def _place(fits: Fit, say: Translate) -> str:
    if fits.place == "no":
        return say("does not fit")
    where = say("on the CPU") if fits.place == "cpu" else say("fits")
    return f"{where}, {say_duration(fits.seconds, say)}" if fits.seconds else where


def say_terms(terms: Terms, locale: str = "en") -> str:
    """What has to be known before it is fetched, and how to accept it."""
    say, spec = translator(locale), terms.spec
    lines = [_preset(spec, terms.fits, say)]
    if terms.missing:
        lines.append(
            say("{missing} GiB to fetch, {free} GiB are free.").format(
                missing=f"{terms.missing / 2**30:.1f}", free=f"{terms.free / 2**30:.1f}"
            )
        )
    lines += [say("Licence: {licence}").format(licence=licence) for licence in terms.licences]
    lines += [spec.licence_url] if spec.licence_url else []
    return "\n".join([*lines, say(ACCEPT_FIRST)])


def say_begun(installation: Installation, locale: str = "en") -> str:
    say = translator(locale)
    return say("{model} is being fetched and tried; /admin models says how far it is.").format(
        model=installation.spec.called
    )


def say_removed(name: str, freed: int, locale: str = "en") -> str:
    say = translator(locale)
    if not freed:
        return say("{model} is removed.").format(model=name)
    return say("{model} is removed, {size} GiB are free again.").format(model=name, size=f"{freed / 2**30:.1f}")


def say_freed(freed: Freed, locale: str = "en") -> str:
    say = translator(locale)
    lines = []
    if freed.models:
        unloaded = say("{models}: unloaded, {size} GiB are free again.")
        lines.append(unloaded.format(models=", ".join(freed.models), size=f"{freed.freed_mb / 1024:.1f}"))
    if freed.busy:
        lines.append(say("At work, and still loaded: {models}.").format(models=", ".join(freed.busy)))
    return "\n".join(lines) or say("No model was loaded.")


def say_policy(rules: SpaceRules, locale: str = "en") -> str:
    """What holds in the place where it is asked."""
    say = translator(locale)
    lines = [say(POLICIES[rules.policy.value])]
    lines.append(say(EDITS) if rules.edit_others else say(EDITS_NOT))
    return "\n".join([*lines, say(HOW_TO_POLICY)])


POLICIES = {
    "block": N_("Sexual pictures are thrown away here."),
    "spoiler": N_("Sexual pictures are hidden behind a click here, where the channel is for adults."),
    "allow": N_("Sexual pictures are shown here, where the channel is for adults."),
}
EDITS = N_("Pictures that somebody else posted may be edited.")
EDITS_NOT = N_("Pictures that somebody else posted may not be edited.")
HOW_TO_POLICY = N_("Change it: /admin policy block, spoiler, allow or default; and the option edit-others yes or no.")
