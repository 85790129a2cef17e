"""How a run can be ended from outside, or by what another rank has already told."""

from __future__ import annotations


class InterruptedRun(KeyboardInterrupt):
    """Stopped by Ctrl-C; the text says how to go on."""

    code = 130


class TerminatedRun(InterruptedRun):
    """Stopped by SIGTERM, as schedulers and launchers do."""

    code = 143


class ToldError(Exception):
    """A failure that this or another rank has already told."""

    def __init__(self, code: int = 1) -> None:
        super().__init__()
        self.code = code
