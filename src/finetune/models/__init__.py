"""Bases, tokenizers, quantisation and adapters: how a `ModelRef` becomes a model in memory."""
