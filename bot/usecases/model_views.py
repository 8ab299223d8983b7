"""What an owner sees of models, as plain JSON values: the same on the page, over REST, on the command line."""

from typing import Any

from bot.memory.fit import Fit
from bot.models import Arrival, Models, ModelSpec
from bot.ports import Addition, Freed
from bot.usecases.models import Installation, ModelUseCases, Terms


def arrival_body(arrival: Arrival | None) -> dict[str, Any] | None:
    """Bytes, bytes a second, seconds; None for a model that is here."""
    return None if arrival is None else vars(arrival)


def fit_body(fits: Fit | None) -> dict[str, Any] | None:
    if fits is None:
        return None
    return {"place": fits.place, "seconds": fits.seconds, "lacks": fits.lacks, "words": list(fits.words)}


def spec_body(spec: ModelSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "title": spec.called,
        "tasks": list(spec.tasks),
        "repo": spec.repo,
        "revision": spec.form.get("revision") or spec.revision,
        "licences": list(spec.licences or ((spec.licence,) if spec.licence else ())),
        "licence_url": spec.licence_url,
        "commercial": spec.commercial,
        "demo": spec.demo,
        "enabled": spec.enabled,
        "download_mb": spec.download_mb,
    }


def rows(using: ModelUseCases, fits: dict[str, Fit], usage: dict[str, int]) -> list[dict[str, Any]]:
    """Every model, then every preset. `usage`: bytes on the disk, by repo."""
    models: Models = using.models
    found = []
    for spec in models.known:
        installation = using.standing(spec.name)
        found.append(
            {
                **spec_body(spec),
                "default_for": [task for task in spec.tasks if models.default_for(task) is spec],
                "arrival": arrival_body(models.arrival(spec.name)),
                "fits": fit_body(fits.get(spec.name)),
                "disk_bytes": usage.get(spec.repo, 0),
                "error": installation.error if installation else "",
            }
        )
    return found


def freed_body(freed: Freed) -> dict[str, Any]:
    """`models` were unloaded, `busy` ones stay; MiB."""
    return {"models": list(freed.models), "busy": list(freed.busy), "freed_mb": freed.freed_mb}


def addition_body(addition: Addition) -> dict[str, Any]:
    return {name: value for name, value in vars(addition).items() if name != "path"}


def terms_body(terms: Terms) -> dict[str, Any]:
    """What is to be known before a model is fetched; bytes."""
    refused = sorted({name for listing in terms.listings for name in listing.refused})
    return {
        **spec_body(terms.spec),
        "licences": list(terms.licences),
        "must_accept": terms.must_accept,
        "gated": terms.is_gated,
        "fits": fit_body(terms.fits),
        "missing_bytes": terms.missing,
        "total_bytes": sum(listing.total for listing in terms.listings),
        "free_bytes": terms.free,
        "refused": refused,
        "commit": terms.listings[0].commit if terms.listings else "",
    }


def installation_body(installation: Installation) -> dict[str, Any]:
    """How far it is; `trials` and `error` come with the end."""
    return {
        "name": installation.spec.name,
        "title": installation.spec.called,
        "tasks": list(installation.tasks),
        "arrival": arrival_body(None if installation.is_over else installation.arrival),
        "is_over": installation.is_over,
        "error": installation.error,
        "trials": [
            {
                "task": trial.task,
                "text": trial.text,
                "seconds": trial.seconds,
                "notes": list(trial.notes),
                "has_picture": trial.picture is not None,
            }
            for trial in installation.trials
        ],
    }
