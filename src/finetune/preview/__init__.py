"""Rows as a stage will see them, before it runs: token by token, in the terminal or on a page."""
