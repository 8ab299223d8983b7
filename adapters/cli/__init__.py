"""The command line: serving, and one-shot commands."""
