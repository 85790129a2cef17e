"""What a run relies on, measured on this very machine: `finetune selftest`."""
