"""The chain: what each stage depends on, what is already done, and running the rest in order."""
