"""One YAML recipe from a base language model to a fine-tuned, measured and merged one."""

__version__ = "0.1.0"


def run(path: str) -> None:
    """Run the recipe file that called: what its last line does under `accelerate launch`."""
    from finetune.cli import run_file

    run_file(path)
