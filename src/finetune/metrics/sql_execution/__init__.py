"""Whether a predicted SQL query returns what the right one does."""
