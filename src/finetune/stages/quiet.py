"""Silence for what the libraries say beside the matter, so that our own lines can be read."""

from __future__ import annotations

import logging
import os
import warnings

from finetune.console import say


def hush() -> None:
    """Turn off progress bars per library call, notices of coming renames, and telemetry.

    Errors still speak. Called once, before the libraries do anything.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    # Said of ranks of fused experts, which PEFT sets itself and does use.
    warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern keys")
    import datasets
    from transformers.utils import logging as transformers_logging

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # what it cannot read is told as our error
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for name in ("accelerate", "peft", "trl", "liger_kernel", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("huggingface_hub.utils._http").addFilter(Unanswered())


class Unanswered(logging.Filter):
    """Of a hub that does not answer: one line in place of two for each of six tries."""

    told = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the client's own line is shown."""
        text = record.getMessage()
        if "thrown while requesting" in text and not self.told:
            self.told = True
            say(f"  no answer yet: {text}; it is asked again for half a minute or longer")
        return "thrown while requesting" not in text and not text.startswith("Retrying in")
