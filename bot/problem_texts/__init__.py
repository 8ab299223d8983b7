"""Sentences about problems, by the name of the problem. `bot.error_texts` looks them up."""
