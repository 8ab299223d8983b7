"""Pure memory planning: which components of which models fit where."""
