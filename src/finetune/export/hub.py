"""Uploading to the hub. The token is huggingface_hub's own; it is neither read nor written here."""

from __future__ import annotations

import os
from pathlib import Path

from finetune.errors import FinetuneError


def check_login(repository: str) -> None:
    """Find out before any work whether an upload can be allowed.

    Raises:
        FinetuneError: the hub is switched off, cannot be reached, or does not know the token.
    """
    from huggingface_hub import HfApi, get_token

    where = f"push: {repository}"
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        raise FinetuneError(
            "the hub is switched off (HF_HUB_OFFLINE)",
            where=where,
            remedy="Unset it, or leave `push` out and upload later.",
        )
    if get_token() is None:
        raise FinetuneError(
            "there is no token for the hub",
            where=where,
            remedy="Log in once with `hf auth login`, or set HF_TOKEN.",
        )
    try:
        HfApi().whoami()
    except Exception as error:
        raise FinetuneError(
            f"the hub does not let you in: {reason(error)}",
            where=where,
            remedy="Check the network and the token (`hf auth whoami`), or leave `push` out.",
        ) from error


def push(folder: Path, repository: str, *, private: bool, message: str) -> str:
    """Upload a folder as one commit; returns the address of the repository.

    Raises:
        FinetuneError: it did not work; the files are still there.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    except Exception as error:
        raise FinetuneError(
            f"the upload did not work: {reason(error)}",
            where=f"push: {repository}",
            remedy=f"The files are whole: hf upload {repository} {folder}",
        ) from error
    return str(address)


def reason(error: BaseException) -> str:
    """The first line of an error, without what looks like a token."""
    import re

    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return re.sub(r"hf_\w+", "hf_…", text)
