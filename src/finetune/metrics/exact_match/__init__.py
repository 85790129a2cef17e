"""Whether an answer is one of the right ones."""
