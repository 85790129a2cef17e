"""How long answers are, and whether they came to an end."""
