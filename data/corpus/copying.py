"""Copying, looking up and re-ordering: the end can only be known from the beginning."""

from __future__ import annotations

from .grammar import ORDINALS, article, in_words, listed
from .lexicon import entries
from .words import MONTHS, WEEKDAYS, Draw


def _tokens(draw: Draw, count: int) -> list[str]:
    """Distinct items of one sort: words, names, coined words, numbers or codes."""
    sort = draw.number(1, 6)
    maker = {
        1: draw.thing,
        2: lambda: draw.person().first,
        3: draw.coined,
        4: lambda: str(draw.number(1, 9999)),
        5: draw.code,
        6: draw.city,
    }[sort]
    found: dict[str, None] = {}
    while len(found) < count:
        found.setdefault(maker())
    return list(found)


def look_up(draw: Draw) -> str:
    """Keys with values, told in sentences, and told again in another order."""
    keys, values = _tokens(draw, draw.number(3, 8)), []
    kind = draw.one("colour", "price", "owner", "place", "number", "code", "day", "word")
    maker = {
        "colour": lambda: draw.word("colours"),
        "price": draw.money,
        "owner": lambda: draw.person().first,
        "place": lambda: draw.word("places"),
        "number": lambda: str(draw.number(1, 999)),
        "code": draw.code,
        "day": lambda: draw.rng.choice(WEEKDAYS),
        "word": draw.coined,
    }[kind]
    values = [maker() for _ in keys]
    shape = draw.one(
        "The {kind} of {key} is {value}.",
        "{key} = {value}",
        "{key}: {value}",
        "{key} -> {value}",
        "For {key} the {kind} is {value}.",
        "{key} has the {kind} {value}.",
        "{key}\t{value}",
    )
    pairs = list(zip(keys, values, strict=True))
    first = [shape.format(kind=kind, key=key, value=value) for key, value in pairs]
    asked = draw.one(
        shape,
        shape,
        "What is the {kind} of {key}? {value}",
        "{key}? {value}",
        "You asked for the {kind} of {key}: it is {value}.",
    )
    order = draw.rng.choices(pairs, k=draw.number(3, 8))
    second = [asked.format(kind=kind, key=key, value=value) for key, value in order]
    glue = draw.one("\n", "\n", " ")
    return glue.join(first) + draw.one("\n", "\n\n", "\nAgain:\n") + glue.join(second)


def two_level(draw: Draw) -> str:
    """Facts of several attributes per thing, asked for by thing and attribute."""
    owners = [person.first for person in draw.people(draw.number(2, 4))]
    sorts = {
        "age": lambda: str(draw.number(6, 90)),
        "city": draw.city,
        "job": lambda: draw.word("occupations"),
        "hobby": lambda: draw.word("hobbies"),
        "pet": lambda: draw.word("animals"),
        "car": lambda: draw.word("colours"),
        "favourite food": lambda: draw.word("foods"),
        "phone": lambda: str(draw.number(1000, 9999)),
    }
    chosen = draw.rng.sample(sorted(sorts), draw.number(2, 4))
    table = {(owner, sort): sorts[sort]() for owner in owners for sort in chosen}
    shape = draw.one(
        "{owner}'s {sort} is {value}.",
        "{owner}, {sort}: {value}.",
        "The {sort} of {owner} is {value}.",
    )
    told = [
        shape.format(owner=owner, sort=sort, value=value) for (owner, sort), value in table.items()
    ]
    if draw.chance(0.4):
        draw.rng.shuffle(told)
    asked = draw.rng.sample(sorted(table), min(len(table), draw.number(3, 7)))
    question = draw.one(
        "What is {owner}'s {sort}? {value}",
        "{owner}'s {sort}? {value}.",
        shape,
        "So {owner}'s {sort} is {value}.",
        "Q: {sort} of {owner}?\nA: {value}",
    )
    return (
        " ".join(told)
        + "\n"
        + "\n".join(question.format(owner=o, sort=s, value=table[o, s]) for o, s in asked)
    )


def repeat(draw: Draw) -> str:
    """A sequence, then the same sequence copied, reversed, sorted, or picked from."""
    items = _tokens(draw, draw.number(3, 9))
    glue = draw.one(" ", ", ", ", ", " | ", "; ", "\n")
    whole = glue.join(items)
    pick = draw.number(0, min(len(items), 10) - 1)
    after = draw.number(0, len(items) - 2)
    tasks = [
        f"Copy: {whole}",
        f"Again: {whole}",
        f"Reversed: {glue.join(reversed(items))}",
        f"Sorted: {glue.join(sorted(items))}",
        f"The {ORDINALS[pick]} is {items[pick]}.",
        f"First: {items[0]}",
        f"Last: {items[-1]}",
        f"After {items[after]} comes {items[after + 1]}.",
        f"Before {items[after + 1]} comes {items[after]}.",
        f"Without {items[pick]}: " + glue.join(item for item in items if item != items[pick]),
        f"There are {len(items)} items.",
        f"Quoted: {', '.join(repr(item) for item in items)}",
        f"In capitals: {whole.upper()}",
        f"With numbers: {'; '.join(f'{number}. {item}' for number, item in enumerate(items, 1))}",
        f"Initials: {' '.join(item[0] for item in items)}",
    ]
    return f"{draw.one('List', 'Input', 'Items', 'Given')}: {whole}\n" + "\n".join(
        draw.rng.sample(tasks, draw.number(3, 7))
    )


def echo(draw: Draw) -> str:
    """Random words, then the whole run again and again: the plainest lesson in copying."""
    items = [
        draw.rng.choice((draw.coined, draw.thing, lambda: str(draw.number(0, 999)), draw.code))()
        for _ in range(draw.number(6, 22))
    ]
    text = " ".join(items)
    return "\n".join([text] * draw.number(2, 4))


def drill(draw: Draw) -> str:
    """Words without order or sense, then the same run again, whole or a part of it."""
    words = [
        word
        for pool in ("objects", "foods", "animals", "occupations", "adjectives", "nouns", "drinks")
        for word in entries(pool)
    ]
    words += [*entries("names_female"), *entries("names_male"), *entries("surnames")]
    items = draw.rng.sample(sorted(set(words)), draw.number(6, 40))
    glue = draw.one(" ", " ", " ", ", ", " | ", "\n", "; ")
    out = [glue.join(items)]
    for _ in range(draw.number(1, 3)):
        start = draw.one_of_two(0, draw.number(0, len(items) - 4))
        out.append(glue.join(items[start:]))
    return draw.one("\n", "\n\n", " # ").join(out)


def snippets(draw: Draw) -> str:
    """Quoted passages of a longer line: find the part and say what follows it."""
    items = [
        draw.rng.choice((draw.thing, draw.coined, lambda: draw.word("adjectives")))()
        for _ in range(draw.number(12, 24))
    ]
    out = [" ".join(items)]
    for _ in range(draw.number(3, 6)):
        start = draw.number(0, len(items) - 5)
        before, after = " ".join(items[start : start + 2]), " ".join(items[start + 2 : start + 4])
        out.append(f"After '{before}' the text says '{after}'.")
    return "\n".join(out)


def form(draw: Draw) -> str:
    """A paragraph about a person, then a form filled in from it."""
    person = draw.person()
    day, month = draw.number(1, 28), draw.rng.choice(MONTHS)
    facts = {
        "Name": (person.full, ""),
        "Age": (str(age := draw.number(16, 88)), f"{person.he} is {age} years old"),
        "City": (city := draw.city(), f"{person.he} lives in {city}"),
        "Occupation": (job := draw.word("occupations"), f"{person.he} works as {article(job)}"),
        "Hobby": (hobby := draw.word("hobbies"), f"{person.his} hobby is {hobby}"),
        "Phone": (phone := str(draw.number(10000, 99999)), f"{person.his} phone number is {phone}"),
        "Born": (born := f"{day} {month}", f"{person.he} was born on {born}"),
        "Pet": (pet := draw.word("animals"), f"{person.he} has {article(pet)}"),
        "Wants": (want := draw.word("objects"), f"{person.he} wants to buy {article(want)}"),
        "Nationality": (nation := draw.nationality(), f"{person.he} is {nation}"),
    }
    chosen = draw.rng.sample(sorted(set(facts) - {"Name"}), draw.number(3, 6))
    story = f"This is {person.full}. " + " ".join(
        f"{facts[key][1][0].upper()}{facts[key][1][1:]}." for key in chosen
    )
    draw.rng.shuffle(chosen)
    style = draw.one("{}: {}", "{} = {}", "- {}: {}", '"{}": "{}"', "{}, {}")
    return story + "\n" + "\n".join(style.format(key, facts[key][0]) for key in ["Name", *chosen])


def quotes(draw: Draw) -> str:
    """Words put in quotation marks when they are named as words."""
    out = []
    for _ in range(draw.number(3, 7)):
        thing = draw.one(draw.thing(), draw.coined(), draw.city(), draw.person().first, draw.code())
        out.append(
            draw.one(
                f"The sign said {thing}, so Ben wrote '{thing}' in his notebook.",
                f"Write {thing} in quotes: '{thing}'",
                f"She spelled {thing} as {'-'.join(thing)}.",
                f"The word '{thing}' has {len(thing)} letters.",
                f'What comes after {thing} in the line "{thing} '
                f'{(other := draw.coined())}"? {other}',
                f"In the field they typed {thing} and the page showed '{thing}'.",
            )
        )
    return "\n".join(out)


def sums(draw: Draw) -> str:
    """Arithmetic and counting in words and figures."""
    out = []
    for _ in range(draw.number(4, 8)):
        left, right, thing = draw.number(1, 50), draw.number(1, 50), draw.word("objects")
        who = draw.person().first
        big, small = max(left, right), min(left, right)
        out.append(
            draw.one(
                f"{left} + {right} = {left + right}",
                f"{big} - {small} = {big - small}",
                f"{in_words(left)} plus {in_words(right)} is {in_words(left + right)}",
                f"{left} is {in_words(left)}.",
                f"{big} is greater than {small}." if big > small else f"{big} is equal to {small}.",
                f"{who} had {left} {thing}s and got {right} more, so now {who} has {left + right}.",
                f"{who} paid {left} for the {thing} and {right} for the bag: "
                f"{left + right} in all.",
            )
        )
    return "\n".join(out)


def shopping(draw: Draw) -> str:
    """A list with amounts, and what is bought or missing told in a sentence."""
    items = draw.words("foods", draw.number(4, 8))
    who = draw.people(2)
    bought = draw.rng.sample(items, draw.number(1, len(items) - 1))
    missing = [item for item in items if item not in bought]
    head = "\n".join(f"- {draw.number(1, 9)} {item}" for item in items)
    return (
        f"Shopping list of {who[0].first}\n{head}\n{who[1].first} bought {listed(bought)}. "
        f"Still missing: {listed(missing)}."
    )


KINDS = {
    "look_up": look_up,
    "look_up_two_level": two_level,
    "repeat": repeat,
    "echo": echo,
    "drill": drill,
    "snippets": snippets,
    "form": form,
    "quotes": quotes,
    "sums": sums,
    "shopping": shopping,
}
