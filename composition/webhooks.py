"""Builds what calls webhooks, where the config names some."""

from adapters.cli.ports import LoadedConfig
from adapters.webhooks.settings import webhooks_of
from bot.ports import WebhookSender
from bot.usecases.webhook_events import WebhookEvents
from storage import Storage


def build_webhook_sender(loaded: LoadedConfig, storage: Storage) -> WebhookSender | None:
    """None: there are no webhooks, and their libraries are not imported."""
    webhooks = webhooks_of(loaded.settings)
    if not webhooks:
        return None
    from importlib.metadata import version

    from adapters.web.views import job_json
    from adapters.webhooks.sender import HttpWebhookSender

    events = WebhookEvents(store=storage.jobs, changes=storage.changes)
    return HttpWebhookSender(
        webhooks=webhooks, read_ticket=events.read_ticket, to_body=job_json, version=version("easel")
    )
