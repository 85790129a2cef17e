"""On what hardware a recipe runs: profiles, how they start, and the jobs of clusters."""
