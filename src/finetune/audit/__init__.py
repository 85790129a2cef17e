"""What is wrong with rows, or may be, found before a model learns it."""
