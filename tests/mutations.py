"""Ways in which rows and files go wrong, seeded; no mutation knows what reading makes of it."""

from __future__ import annotations

import gzip
import json
from random import Random

DEEP = 100_000


def row(generator: Random) -> dict[str, object]:
    """A row of prompt and completion, with all that texts may hold."""
    words = ["lamp 漢字", "🙂", "\n", "\t", '"', ", é", "\\", " 007", "\x00", "NA"]

    def text() -> str:
        return "x" + "".join(generator.choices(words, k=generator.randint(1, 9)))

    return {"prompt": text(), "completion": text(), "id": generator.randint(0, 9)}


def line(generator: Random) -> bytes:
    """A row as a line of JSON, without its end."""
    return json.dumps(row(generator), ensure_ascii=generator.random() < 0.5).encode()


def _value(generator: Random, value: object) -> bytes:
    given = row(generator)
    given[generator.choice(["prompt", "completion"])] = value
    return json.dumps(given).encode()


def _cut(generator: Random) -> bytes:
    whole = line(generator)
    return whole[: generator.randrange(1, len(whole))]


def _without(generator: Random) -> bytes:
    given = row(generator)
    del given[generator.choice(["prompt", "completion"])]
    return json.dumps(given).encode()


def _flipped(generator: Random) -> bytes:
    whole = bytearray(line(generator))
    for _ in range(generator.randint(1, 4)):
        whole[generator.randrange(len(whole))] = generator.choice([*range(10), *range(11, 256)])
    return bytes(whole)


def _dropped(generator: Random) -> bytes:
    whole = line(generator)
    at = generator.randrange(len(whole))
    return whole[:at] + whole[at + 1 :]


# Each makes one line without its end; what it is called is for whoever reads a failure.
ROWS = {
    "whole": line,
    "cut": _cut,
    "bytes flipped": _flipped,
    "a byte dropped": _dropped,
    "no such column": _without,
    "a number": lambda g: _value(g, g.randint(-9, 9)),
    "a fraction": lambda g: _value(g, g.random()),
    "null": lambda g: _value(g, None),
    "a flag": lambda g: _value(g, True),
    "an empty text": lambda g: _value(g, g.choice(["", " ", "\n\t"])),
    "a list": lambda g: _value(g, [["a"], [[]]]),
    "an object": lambda g: _value(g, {"a": {"b": []}}),
    "messages": lambda g: _value(g, [{"role": "user", "content": "x"}]),
    "messages of numbers": lambda g: _value(g, [{"role": 3, "content": None}]),
    "half a character": lambda g: _value(g, "x\ud83d"),
    "NUL": lambda g: _value(g, "a\x00b"),
    "a bare NUL": lambda g: line(g)[:-1] + b"\x00}",
    "no UTF-8": lambda g: line(g).replace(b"x", b"\xff\xfe", 1),
    "a mark at the front": lambda g: b"\xef\xbb\xbf" + line(g),
    "a return at the end": lambda g: line(g) + b"\r",
    "two in one line": lambda g: line(g) + line(g),
    "a comma at the end": lambda g: line(g) + b",",
    "a key twice": lambda g: line(g)[:-1] + b', "prompt": "again"}',
    "a list around it": lambda g: b"[" + line(g) + b"]",
    "a bare text": lambda g: b'"text"',
    "a word for nothing": lambda g: b"null",
    "a huge number": lambda g: line(g)[:-1] + b', "n": ' + b"9" * 5000 + b"}",
    "no number": lambda g: line(g)[:-1] + b', "n": NaN}',
    "white": lambda g: b" \t ",
    "an empty object": lambda g: b"{}",
    "another layout": lambda g: b'{"messages": [{"role": "user", "content": "x"}]}',
}
RARE = {  # large, so that a few will do
    "nested without end": lambda g: (
        b'{"prompt": ' + b"[" * DEEP + b"]" * DEEP + b', "completion": "x"}'
    ),
    "never closed": lambda g: b'{"prompt": ' + b'{"a":' * DEEP,
    "10 MB": lambda g: json.dumps({"prompt": "x" * 10_000_000, "completion": "y"}).encode(),
    "10 MB of nothing": lambda g: b"[" + b"0," * 5_000_000,
}


def _inserted(content: bytes, generator: Random) -> bytes:
    at = generator.randrange(len(content))
    more = generator.choice([b"\x00", b"\xff", b'"', b"\r", b"\n", b"]"])
    return content[:at] + more + content[at:]


def _bit_flipped(content: bytes, generator: Random) -> bytes:
    at = generator.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]


# Each takes the bytes of a whole file of lines.
FILES = {
    "whole": lambda c, g: c,
    "cut": lambda c, g: c[: g.randrange(1, len(c))],
    "a byte more": _inserted,
    "Windows": lambda c, g: c.replace(b"\n", b"\r\n"),
    "old Mac": lambda c, g: c.replace(b"\n", b"\r"),
    "a mark at the front": lambda c, g: b"\xef\xbb\xbf" + c,
    "two marks": lambda c, g: b"\xef\xbb\xbf" * 2 + c,
    "UTF-16": lambda c, g: c.decode(errors="replace").encode("utf-16"),
    "blank lines": lambda c, g: b"\n \n" + c.replace(b"\n", b"\n\n"),
    "lines swapped": lambda c, g: b"\n".join(g.sample(c.split(b"\n"), c.count(b"\n") + 1)),
    "NUL at the end": lambda c, g: c + b"\x00" * 100,
    "nothing": lambda c, g: b"",
}
PACKED = {
    "whole": lambda c, g: c,
    "cut": lambda c, g: c[: g.randrange(1, len(c))],
    "flipped": _bit_flipped,
}


def packed(content: bytes, generator: Random) -> bytes:
    """The file compressed, perhaps with damage."""
    return PACKED[generator.choice(list(PACKED))](gzip.compress(content, 1), generator)
