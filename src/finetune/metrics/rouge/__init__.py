"""ROUGE of summaries against one or several references."""
