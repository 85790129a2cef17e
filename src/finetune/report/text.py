"""Text of strangers on a page: nothing in it may act, hide, or turn round what stands beside it."""

from __future__ import annotations

import re

# Controls do not show, and NUL is no character of HTML. Overrides and isolates of direction make
# text read as something else (Boucher and Anderson 2021, "Trojan Source"); marks such as U+200F,
# which right-to-left text needs, stay.
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
UNSEEN = re.compile(r"[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\U000e0000-\U000e007f]")
LONE_HALVES = re.compile(r"[\ud800-\udfff]")


def visible(value: object) -> object:
    """A string with what cannot be seen made visible; anything else as it is.

    Marked-up text (a template's own output) has been through here and stays.
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    text = CONTROLS.sub(lambda found: chr(0x2400 + ord(found[0])), text)
    text = UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)
    return LONE_HALVES.sub("\N{REPLACEMENT CHARACTER}", text)
