"""Webhooks: what became of a job is posted to an address of the owner's. `bot.queue` decides when and how often."""
