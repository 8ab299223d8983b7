"""What an engine is, and what every engine shares. No torch."""
