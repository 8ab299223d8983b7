"""Clients of Easel: over HTTP to the running server, or in this process."""
