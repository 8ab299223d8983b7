"""The page, REST and server-sent events."""
