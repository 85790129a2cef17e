"""How one person types: capitals, full stops, emoji, short forms, slips, two messages instead of one."""

import random
import re
from dataclasses import dataclass

CALM_EMOJI = ["🙂", "👍", ":)", ";)", "😊"]
GLAD_EMOJI = ["😂", "🎉", "❤️", ":D", "xD", "😍", "💪"]
ASKING_EMOJI = ["🤔", "🙏", "👀", ":)", "🙈"]
SAD_EMOJI = ["😢", "😩", "😭", "😞", ":(", ":/", "🙄", "😬"]
SAD_WORDS = re.compile(
    r"\b(sorry|lost|broke|broken|sick|ill|hurts?|can't|worried|afraid|hate|awful|died|nervous|missed|"
    r"cancelled|stuck|failed|sad|vet|hospital|nobody|fever|leak|leaking|stolen|panic)\b",
    re.IGNORECASE,
)
SHORT_FORMS = {
    "you": "u",
    "are": "r",
    "please": "pls",
    "thanks": "thx",
    "because": "cuz",
    "tomorrow": "tmrw",
    "tonight": "2nite",
    "really": "rly",
    "going to": "gonna",
    "want to": "wanna",
    "okay": "ok",
    "people": "ppl",
    "your": "ur",
}
SLIPS = {
    "definitely": "definately",
    "the": "teh",
    "about": "abuot",
    "should": "shoudl",
    "because": "becuase",
    "really": "realy",
    "until": "untill",
    "with": "wiht",
    "have": "ahve",
    "probably": "probaly",
    "just": "jsut",
    "weird": "wierd",
    "you're": "your",
    "it's": "its",
    "don't": "dont",
    "can't": "cant",
    "I'll": "Ill",
    "what": "waht",
}


@dataclass(frozen=True)
class Style:
    lower: bool
    drop_stop: bool
    emoji: float
    short: float
    slip: float
    split: float


def draw_style(rng: random.Random) -> Style:
    chatty = rng.random() < 0.4
    return Style(
        lower=rng.random() < 0.16,
        drop_stop=rng.random() < 0.45,
        emoji=rng.choice([0.0, 0.0, 0.15, 0.35]),
        short=0.5 if chatty and rng.random() < 0.3 else 0.0,
        slip=0.12 if chatty else 0.01,
        split=0.4 if rng.random() < 0.3 else 0.05,
    )


def swap_words(text: str, table: dict[str, str], share: float, rng: random.Random) -> str:
    for word, other in table.items():
        if rng.random() < share:
            text = re.sub(rf"\b{re.escape(word)}\b", other, text, count=1)
    return text


def add_emoji(text: str, rng: random.Random) -> str:
    if SAD_WORDS.search(text):
        return f"{text} {rng.choice(SAD_EMOJI)}"
    fitting = {"?": ASKING_EMOJI, "!": GLAD_EMOJI}.get(text[-1], CALM_EMOJI)
    return f"{text} {rng.choice(fitting)}"


def dress(text: str, style: Style, rng: random.Random) -> str:
    """The text as a person of this style would type it."""
    text = swap_words(text, SHORT_FORMS, style.short, rng)
    if rng.random() < style.slip:
        text = swap_words(text, SLIPS, 0.5, rng)
    if style.drop_stop:
        text = re.sub(r"(?<!\.)\.$", "", text)
    if style.lower:
        text = text.lower()
    return add_emoji(text, rng) if rng.random() < style.emoji else text


def messages(text: str, style: Style, rng: random.Random) -> list[str]:
    """One or two messages: some people press enter after every sentence."""
    cut = re.search(r"[.!?] (?=[A-Z])", text)
    if cut and rng.random() < style.split:
        halves = [text[: cut.end()].strip(), text[cut.end() :].strip()]
        return [dress(half, style, rng) for half in halves]
    return [dress(text, style, rng)]
