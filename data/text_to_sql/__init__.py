"""Helpers that make the embedded text-to-SQL sample: databases, questions and their queries."""
