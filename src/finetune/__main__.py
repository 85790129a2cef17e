"""`python -m finetune`, and with it `accelerate launch -m finetune run RECIPE`."""

from finetune.cli import main

main()
