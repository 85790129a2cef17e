"""Silence for what the libraries say beside the matter, so that our own lines can be read."""

from __future__ import annotations

import logging
import os
import warnings


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
