"""Narrative English: stories, reported speech, letters, diaries and news notes."""

from __future__ import annotations

from .chats import when
from .grammar import article, gerund, irregular, listed, past, third
from .words import WEEKDAYS, Draw, Person

WHY = (
    "because {he} was {adjective}",
    "because the {place} was closed",
    "because it was raining",
    "because of the {event}",
    "because {he} had lost {his} {object}",
    "because {he} had to {do}",
    "since {other} was ill",
    "because {other} had asked {him} to",
    "as {he} wanted to {do}",
    "because the {object} was broken",
)


def _people_slots(draw: Draw, text: str, who: Person, other: Person) -> str:
    verb, rest = draw.activity(other.first)
    for slot, filled in {
        "{he}": who.he,
        "{his}": who.his,
        "{him}": who.him,
        "{other}": other.first,
        "{do}": f"{verb} {rest}",
        "{did}": f"{past(verb)} {rest}",
        "{doing}": f"{gerund(verb)} {rest}",
        "{who}": who.first,
        "{when}": when(draw),
    }.items():
        text = text.replace(slot, filled)
    return draw.fill(text, other.first)


def why(draw: Draw, who: Person, other: Person) -> str:
    return _people_slots(draw, draw.one(*WHY), who, other)


def told(draw: Draw, who: Person, other: Person) -> str:
    """One sentence of reported speech."""
    verb, rest = draw.activity("them" if draw.chance(0.2) else draw.person().first)
    do, did, reason = f"{verb} {rest}", f"{past(verb)} {rest}", why(draw, who, other)
    he, time = who.he, when(draw)
    return draw.one(
        f"{who.first} told {other.first} that {he} would {do} {time}.",
        f"{who.first} said that {he} had to {do} {reason}.",
        f"{who.first} asked {other.first} to {do}.",
        f"{who.first} asked {other.first} whether {other.he} could {do}.",
        f"{who.first} wants to {do} {time}.",
        f"{who.first} is going to {do} with {other.first} {time}.",
        f"{who.first} can't {do} {reason}.",
        f"{who.first} and {other.first} will {do} {time}.",
        f"{who.first} {did} {reason}.",
        f"{who.first} promised {other.first} to {do}.",
        f"{other.first} agreed to {do} with {who.first}.",
        f"{who.first} suggested {gerund(verb)} {rest}, but {other.first} refused.",
        f"{who.first} reminded {other.first} to {do}.",
        f"{who.first} explained to {other.first} why {he} {did}.",
        f"{who.first} invited {other.first} to {do}.",
        f"{who.first} apologised for not {gerund(verb)} {rest}.",
        f"{who.first} offered to {do} for {other.first}.",
        f"{who.first} forgot to {do}, so {other.first} was {draw.word('adjectives')}.",
        f"{who.first} doesn't want to {do}.",
        f"{who.first} often {third(verb)} {rest}.",
        f"{who.first} has not decided yet whether to {do}.",
        f"{other.first} will help {who.first} to {do}.",
    )


def reported(draw: Draw) -> str:
    """A handful of reported sentences about the same two or three people."""
    people = draw.people(draw.number(2, 3))
    out = []
    for _ in range(draw.number(4, 8)):
        who, other = draw.rng.sample(people, 2)
        out.append(told(draw, who, other))
    return " ".join(out)


SPEECH = (
    '{who} said to {other}: "I will {do} {time}." {who} told {other} that {he} would {do} {time}.',
    '"Can you {do}?" asked {who}. {who} asked {other} to {do}.',
    '"I {did}," said {who}. {who} said that {he} had {did}.',
    '"Let\'s {do} {time}," said {who}. {who} proposed to {other} to {do} {time}.',
)
WANTED = '"I want to {do}," said {who}. {who} wanted to {do}.'


def direct_and_indirect(draw: Draw) -> str:
    """Single sentences said directly and then reported."""
    out = []
    for _ in range(draw.number(3, 5)):
        who, other = draw.people(2)
        verb, rest = draw.activity(draw.person().first)
        time, text = when(draw), draw.one(*SPEECH)
        # only where past and participle look alike: the bases see no 'had went'
        if "{did}" in text and verb in irregular() and len(set(irregular()[verb])) > 1:
            text = WANTED
        slots = {"do": f"{verb} {rest}", "did": f"{past(verb)} {rest}", "he": who.he, "time": time}
        out.append(text.format(who=who.first, other=other.first, **slots))
    return "\n".join(out)


SCENES = (
    "One {weekday}, {who} went to the {place} to {do}.",
    "It was a {adjective} day in {city}.",
    "At the {place} {he} met {other}, {a_job}.",
    '"Have you seen my {object}?" asked {other}.',
    '"I want to {do}," said {who}.',
    '"{coined}," said the {adjective} {animal}.',
    "{other} gave {him} {a_thing}.",
    "The {object} was {colour} and very {adjective}.",
    "{who} looked at the {object} and laughed.",
    "Suddenly {a_animal} ran through the {place}.",
    "They {did} together {when}.",
    "But the {object} was gone.",
    "{who} was {adjective}, and so was {other}.",
    "After {doing}, {he} went back to the {place}.",
    "Nobody knew why the {animal} was so {adjective}.",
    "In the end {who} found the {object} behind the {object}.",
    "{other} thanked {him} and gave {him} some {food}.",
    "{who} never forgot that day in {month}.",
    "Then {he} remembered that {he} had to {do}.",
    "{who} had {n} {object}s, but only one was {colour}.",
)


def story(draw: Draw) -> str:
    """A short tale of two people and one thing that matters."""
    who, other = draw.people(2)
    hero = draw.word("objects")
    out = [
        draw.one(
            f"Once there was a {draw.word('occupations')} named {who.first} "
            f"who lived in {draw.city()}.",
            f"{who.first} had {article(draw.word('adjectives'))} {hero}.",
            f"{who.full} worked as {article(draw.word('occupations'))} in {draw.city()}.",
        )
    ]
    for _ in range(draw.number(5, 10)):
        text = draw.one(*SCENES).replace("{a_job}", article(draw.word("occupations")))
        text = text.replace("{a_thing}", article(draw.word("objects"))).replace(
            "{a_animal}", article(draw.word("animals"))
        )
        if draw.chance(0.5):
            text = text.replace("{object}", hero)
        filled = _people_slots(draw, text, who, other)
        out.append(filled[0].upper() + filled[1:])
    return " ".join(out)


def letter(draw: Draw) -> str:
    """A letter from one person to another."""
    who, other, third_one = draw.people(3)
    place = draw.city()
    body = [
        f"thank you for the {draw.word('objects')}.",
        f"I am now in {place} and the weather is {draw.word('adjectives')}.",
    ]
    for _ in range(draw.number(2, 5)):
        verb, rest = draw.activity(third_one.first)
        body.append(
            draw.one(
                f"Yesterday I {past(verb)} {rest}.",
                f"I hope to {verb} {rest} {when(draw)}.",
                f"{third_one.first} and I {past(verb)} {rest}.",
                f"Could you {verb} {rest}?",
                f"I am looking forward to {gerund(verb)} {rest}.",
                f"Please tell {third_one.first} that I will {verb} {rest}.",
            )
        )
    return (
        f"{place}, {draw.day()}\nDear {other.first},\n{' '.join(body)}\n"
        f"{draw.one('Best wishes', 'Yours', 'Love', 'Kind regards')},\n{who.first}"
    )


def diary(draw: Draw) -> str:
    """A day told in the first person, hour by hour."""
    friend = draw.person()
    out = [f"{draw.rng.choice(WEEKDAYS)}, {draw.day()}."]
    for hour in sorted(draw.rng.sample(range(7, 22), draw.number(3, 6))):
        verb, rest = draw.activity(friend.first)
        out.append(
            draw.one(
                f"At {hour}:00 I {past(verb)} {rest}.",
                f"At {hour} I had to {verb} {rest}.",
                f"{hour}:30. {gerund(verb).capitalize()} {rest}. "
                f"{draw.word('adjectives').capitalize()}!",
            )
        )
    return " ".join(out)


def news(draw: Draw) -> str:
    """A short news note with who, what, where, when and a quotation."""
    who, other = draw.people(2)
    job, city, day = draw.word("occupations"), draw.city(), draw.rng.choice(WEEKDAYS)
    verb, rest = draw.activity(other.full)
    money = f"{draw.number(2, 900)} thousand euros"
    out = [
        f"{city}. The {job} {who.full} {past(verb)} {rest} on {day}.",
        draw.one(
            f"The {draw.word('places')} cost {money}.",
            f"More than {draw.number(2, 90) * 10} people came to the {draw.word('events')}.",
            f"It was the first time since {draw.number(1950, 2020)}.",
        ),
        draw.one(
            f'"We are {draw.word("adjectives")}," said {who.last}.',
            f"{who.last} told reporters that {who.he} was {draw.word('adjectives')}.",
            f"According to {other.full}, the {draw.word('events')} will be held in {draw.city()}.",
        ),
        draw.one(
            f"{who.last}, {draw.number(20, 80)}, has worked in {city} "
            f"for {draw.number(2, 30)} years.",
            f"The mayor of {city} thanked {who.full} and {other.full}.",
            f"The {draw.word('places')} opens again on {draw.rng.choice(WEEKDAYS)}.",
        ),
    ]
    return " ".join(out[: draw.number(3, 4)])


def who_did_what(draw: Draw) -> str:
    """A few plain facts and short questions whose answers stand in them."""
    people = draw.people(draw.number(2, 4))
    deeds = [draw.activity(draw.person().first) for _ in people]
    places = draw.words("places", len(people))
    pairs = list(zip(people, deeds, places, strict=True))
    text = " ".join(
        f"{who.first} {past(verb)} {rest}."
        if draw.chance(0.5)
        else f"At the {place}, {who.first} {past(verb)} {rest}."
        for who, (verb, rest), place in pairs
    )
    text += " " + " ".join(f"{who.first} was at the {place}." for who, _, place in pairs)
    out = [text]
    for who, (verb, rest), place in draw.rng.sample(pairs, len(pairs)):
        out.append(
            draw.one(
                f"Who {past(verb)} {rest}? {who.first}",
                f"Where was {who.first}? At the {place}",
                f"Who was at the {place}? {who.first}",
                f"What did {who.first} do? {who.he.capitalize()} {past(verb)} {rest}.",
                f"Did {who.first} {verb} {rest}? Yes, {who.he} did.",
            )
        )
    names = [who.first for who in people]
    return "\n".join(out) + (f"\nWho is in the text? {listed(names)}" if draw.chance(0.4) else "")


KINDS = {
    "reported_speech": reported,
    "direct_indirect": direct_and_indirect,
    "story": story,
    "letter": letter,
    "diary": diary,
    "news": news,
    "who_did_what": who_did_what,
}
