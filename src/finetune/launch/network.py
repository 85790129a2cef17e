"""Whether the hub can be reached, and what of it is on this machine already."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from urllib.parse import urlparse

SECONDS = 4.0


def hub() -> tuple[bool, str]:
    """Whether bases and data can be fetched, and why not. Nothing is sent but a connection."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return True, "not asked: HF_HUB_OFFLINE is set"
    address = urlparse(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    host, port = address.hostname or "huggingface.co", address.port or 443
    if proxy := os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return True, f"{host} by the proxy {urlparse(proxy).hostname}"
    reached = threading.Event()
    # A name server that does not answer waits far longer than any timeout of ours.
    threading.Thread(target=_reach, args=(host, port, reached), daemon=True).start()
    if reached.wait(SECONDS):
        return True, f"{host} answers"
    return False, f"{host} does not answer: built-in and local bases only"


def _reach(host: str, port: int, reached: threading.Event) -> None:
    try:
        with socket.create_connection((host, port), timeout=SECONDS):
            reached.set()
    except OSError:
        pass


def cache() -> str:
    """Where the hub's files are kept, and what is there."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    folder = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    models = len(list(folder.glob("models--*"))) if folder.is_dir() else 0
    return f"{models} models in {folder}"
