"""From what models wrote, on disk, to scores, intervals and gates: no model, no torch."""
