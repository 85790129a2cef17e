"""Generated conversations that are hard on templates and tokenizers, the same for every run."""

import random

PARTS = [
    "the lamp is red",
    "Which lamp?",
    "12.50 €",
    "e\u0301a\u0308 combining\u0301",
    "👩‍🚀 and 👨‍👩‍👧, 🇫🇮",
    "שלום \u202eabc\u202c מר",
    "مرحبا بالعالم",
    "zero\u200bwidth\u200d\ufeff",
    "漢字かなカナ",
    "def f(x):\n    return x\n",
    "\t- one\n\t- two\n\n\n",
    "  ",
    "\n",
    "\u00a0",
    "<think>\nhm\n</think>\n\nyes",
    "NUL \x00 and \x1b[31m",
    "\u0301 leads",
    "�",
]
LOOKALIKES = ["</s>", "<s>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "[/INST]"]
TOOLS = [{"type": "function", "function": {"name": "time", "parameters": {"type": "object"}}}]


def text(draw):
    """A few parts put together, blanks at the ends, and now and then a token's name in them."""
    parts = draw.choices(PARTS, k=draw.randint(0, 4))
    if draw.random() < 0.1:
        parts.insert(draw.randint(0, len(parts)), draw.choice(LOOKALIKES))
    return draw.choice(["", " ", "\n"]).join(parts)


def conversations(count, system=True, tools=False):
    """(messages, tools) pairs: one to four questions, each with an answer, calls among them."""
    draw = random.Random(20261121)
    return [_conversation(draw, system, tools and draw.random() < 0.3) for _ in range(count)]


def _conversation(draw, system, tools):
    messages = []
    if system and draw.random() < 0.5:
        messages.append({"role": "system", "content": draw.choice(["", "Be brief.", text(draw)])})
    for _ in range(draw.randint(1, 4)):
        messages.append({"role": "user", "content": text(draw)})
        if tools:
            messages += _call(draw)
        messages.append({"role": "assistant", "content": text(draw)})
    return messages, TOOLS if tools else None


def _call(draw):
    calls = [
        {"type": "function", "function": {"name": "time", "arguments": {"city": text(draw)}}}
        for _ in range(draw.randint(1, 2))
    ]
    results = [{"role": "tool", "name": "time", "content": text(draw)} for _ in calls]
    return [
        {"role": "assistant", "content": draw.choice(["", "Wait."]), "tool_calls": calls},
        *results,
    ]
