"""A finished model in the forms that others take: GGUF, Ollama, 4 bits, a card, a repository."""
