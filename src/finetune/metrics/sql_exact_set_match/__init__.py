"""Whether a predicted SQL query says clause by clause what the right one says."""
