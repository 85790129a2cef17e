"""One file that holds a whole report: no script, and nothing fetched from anywhere."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from pathlib import Path
from typing import Any

import jinja2

from finetune import __version__
from finetune.report import headline
from finetune.report.layout import duration, number
from finetune.report.text import visible
from finetune.sizes import size_text

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """A page from a template; every value is escaped, whatever the template says."""
    style = (TEMPLATES / "style.css").read_text("utf-8")
    page = _environment().get_template(template)
    return page.render(style=style, policy=policy(style), version=__version__, **values)


def policy(style: str) -> str:
    """A content security policy that allows this very style sheet and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def write(text: str, file: Path) -> None:
    """Put the page into place, whole or not at all."""
    beside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=visible,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "signed": headline.signed,
        "p_value": headline.p_value,
        "duration": duration,
        "bytes": size_text,
        "words": lambda name: str(name).replace("_", " "),
        "exact": repr,
    }
    return environment
