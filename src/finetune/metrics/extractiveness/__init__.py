"""How much of a summary is copied from its document."""
