"""The maker of our own pre-training corpus: one small module for each family of texts."""
