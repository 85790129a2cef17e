"""Memory that a stage takes, told beforehand: its step is run on tensors without numbers."""
