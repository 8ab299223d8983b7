"""How commands reach Easel: through the running server, or by opening it here."""
