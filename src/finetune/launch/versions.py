"""Installed libraries against those that finetune asks for and those it was tested with."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from finetune.embedded import constraints_file


@dataclass(frozen=True)
class Library:
    """One that finetune depends on; versions are empty where there is none."""

    name: str
    wanted: str  # as pip takes it: `torch>=2.10,<2.14`
    version: str
    tested: str
    fits: bool

    @property
    def as_tested(self) -> bool:
        """Whether this very version was tested; of `2.13.0+cpu` what stands before the plus."""
        return self.fits and self.version.split("+")[0] == self.tested


def libraries() -> list[Library]:
    """What finetune itself needs, extras left out."""
    from packaging.requirements import Requirement

    needed = map(Requirement, importlib.metadata.requires("finetune") or ())
    return [_library(each) for each in needed if "extra" not in str(each.marker or "")]


def compilers_missing() -> list[str]:
    """What DeepSpeed needs to compile an optimizer at its first use, and is not here: packages."""
    needed = {"g++": os.environ.get("CXX", "c++"), "ninja-build": "ninja"}  # package: program
    missing = [package for package, program in needed.items() if shutil.which(program) is None]
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return missing if headers.is_file() else [*missing, "python3-dev"]


def _library(needed: object) -> Library:
    name, range_ = needed.name, needed.specifier  # type: ignore[attr-defined]
    version = _installed(name)
    fits = bool(version) and range_.contains(version, prereleases=True)
    return Library(name, f"{name}{range_}", version, _tested().get(_plain(name), ""), fits)


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _tested() -> dict[str, str]:
    lines = constraints_file().read_text("utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {_plain(name): version.strip() for name, version in pairs}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
