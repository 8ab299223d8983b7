"""Plugins: what the owner's own code can see and change, which plugins there are, and what happens when one fails."""
