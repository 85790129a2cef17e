"""Talking to a model on the terminal: which one, its answers as they come, and what was said."""
