"""The pose engine: maps of people's poses."""
