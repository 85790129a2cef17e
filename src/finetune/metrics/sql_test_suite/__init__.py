"""Whether a predicted SQL query returns the right rows on several filled copies of a database."""
