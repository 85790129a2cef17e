"""Facts and explanations: encyclopaedia notes, how-tos, times, lists, one fact in two ways."""

from __future__ import annotations

from .grammar import article, gerund, listed, past, plural, third
from .words import MONTHS, WEEKDAYS, Draw


def encyclopaedia(draw: Draw) -> str:
    """An entry about an invented person, town or thing."""
    who, city = draw.person(), draw.city()
    name = draw.coined().capitalize()
    born = draw.number(1700, 2000)
    entries = [
        f"{who.full} (born {born} in {city}) is {article(draw.nationality())} "
        f"{draw.word('occupations')}. {who.he.capitalize()} wrote {draw.number(2, 30)} books "
        f"about {draw.word('hobbies')}. In {born + draw.number(20, 50)} "
        f"{who.last} won a prize for the {draw.word('objects')}. {who.full} was born in {city}.",
        f"{name} is a town in {draw.country()} with {draw.number(2, 900)} thousand inhabitants. "
        f"The town is famous for its {draw.word('foods')} and its {draw.word('places')}. "
        f"{name} was founded in {born}. The mayor of {name} is {who.full}.",
        f"The {name} is {article(draw.word('adjectives'))} {draw.word('animals')} of "
        f"{draw.country()}. It is {draw.word('colours')} and {draw.number(5, 300)} cm long. "
        f"The {name} eats {plural(draw.word('animals'))} and {draw.word('foods')}. "
        f"It sleeps {draw.number(2, 20)} hours a day.",
        f"The river {name} flows through {city}. It is {draw.number(20, 3000)} kilometres long "
        f"and {draw.number(2, 90)} metres deep. "
        f"{who.full} was the first to cross the {name} in {born}.",
    ]
    return draw.one(*entries)


def how_to(draw: Draw) -> str:
    """Numbered steps for a small job."""
    thing = draw.word("objects")
    steps = [
        f"Take the {draw.word('objects')} and the {draw.word('objects')}.",
        f"Put the {thing} on the {draw.word('objects')}.",
        f"Wait for {draw.number(2, 50)} minutes.",
        f"Clean the {thing} with {article(draw.word('objects'))}.",
        f"Turn the {thing} to the {draw.one('left', 'right')}.",
        f"Check that the {thing} is {draw.word('adjectives')}.",
        f"Ask {article(draw.word('occupations'))} if the {thing} is too {draw.word('adjectives')}.",
        f"Paint the {thing} {draw.word('colours')}.",
    ]
    chosen = draw.rng.sample(steps, draw.number(3, 6))
    head = draw.one(
        f"How to repair a {thing}", f"How to use the {thing}", f"Caring for your {thing}"
    )
    return head + "\n" + "\n".join(f"{number}. {step}" for number, step in enumerate(chosen, 1))


def recipe(draw: Draw) -> str:
    foods = draw.words("foods", draw.number(3, 6))
    amounts = [f"{draw.number(1, 500)} {draw.one('g', 'ml', 'spoons')} of {food}" for food in foods]
    return (
        f"{foods[0].capitalize()} with {foods[1]}\nYou need: {', '.join(amounts)}.\n"
        f"Mix the {foods[0]} with the {foods[1]}. Add the {listed(foods[2:])}. "
        f"Bake for {draw.number(10, 90)} minutes at {draw.number(12, 24) * 10} degrees."
    )


def time_facts(draw: Draw) -> str:
    """Dates, weekdays and clock times written in several ways."""
    out = []
    for _ in range(draw.number(4, 8)):
        month, day, year = draw.number(1, 12), draw.number(1, 28), draw.number(1950, 2025)
        week, hour, length = draw.number(0, 6), draw.number(1, 11), draw.number(1, 4)
        event = draw.word("events")
        out.append(
            draw.one(
                f"{year}-{month:02d}-{day:02d} is {day} {MONTHS[month - 1]} {year}.",
                f"The day after {WEEKDAYS[week]} is {WEEKDAYS[(week + 1) % 7]}.",
                f"The month after {MONTHS[month - 1]} is {MONTHS[month % 12]}.",
                f"The {event} starts at {hour} and lasts {length} hours, "
                f"so it ends at {(hour + length - 1) % 12 + 1}.",
                f"Someone born in {year} was {length * 10} years old in {year + length * 10}.",
                f"Month {month} is {MONTHS[month - 1]}.",
                f"{year} is before {year + length} and after {year - length}.",
            )
        )
    return "\n".join(out)


def comparisons(draw: Draw) -> str:
    """Amounts of several people or things, then who has more, most, least, and the sorted order."""
    people = [person.first for person in draw.people(draw.number(3, 5))]
    word, many, more, most, less, least = draw.rng.choice(
        (
            ("is {} years old", "age", "older", "oldest", "younger", "youngest"),
            ("is {} cm tall", "height", "taller", "tallest", "shorter", "shortest"),
            ("paid {} euros", "price", "more expensive", "most expensive", "cheaper", "cheapest"),
            ("scored {} points", "score", "higher", "highest", "lower", "lowest"),
            ("weighs {} kg", "weight", "heavier", "heaviest", "lighter", "lightest"),
            ("earns {} a month", "salary", "higher", "highest", "lower", "lowest"),
            ("walked {} km", "distance", "longer", "longest", "shorter", "shortest"),
        )
    )
    amounts = dict(zip(people, draw.rng.sample(range(10, 99), len(people)), strict=True))
    ranked = sorted(people, key=amounts.__getitem__)
    text = " ".join(f"{name} {word.format(amounts[name])}." for name in people)
    limit = draw.number(20, 90)
    over = [name for name in people if amounts[name] > limit]
    out = [
        f"The {most} {many} is {amounts[ranked[-1]]}: {ranked[-1]}.",
        f"The {least} {many} is {amounts[ranked[0]]}: {ranked[0]}.",
        f"From {least} to {most}: {', '.join(ranked)}.",
        f"{more.capitalize()} than {limit}: {', '.join(over) or 'nobody'}.",
        f"Compared with {ranked[0]}, the {many} of {ranked[-1]} is {more}.",
        f"Compared with {ranked[-1]}, the {many} of {ranked[0]} is {less}.",
    ]
    return text + "\n" + "\n".join(draw.rng.sample(out, draw.number(2, 5)))


def paraphrase(draw: Draw) -> str:
    """Single facts, each said in two ways."""
    out = []
    for _ in range(draw.number(3, 6)):
        who, other = draw.people(2)
        thing, place, job, city = (
            draw.word("objects"),
            draw.word("places"),
            draw.word("occupations"),
            draw.city(),
        )
        number, (verb, rest) = draw.number(5, 90), draw.activity(other.first)
        pair = draw.rng.choice(
            [
                (f"{who.full} is {number} years old.", f"The age of {who.full} is {number}."),
                (
                    f"The {thing} costs {number} euros.",
                    f"The price of the {thing} is {number} euros.",
                ),
                (f"{who.first} lives in {city}.", f"{who.first}'s home is in {city}."),
                (
                    f"{who.first} sold the {thing} to {other.first}.",
                    f"{other.first} bought the {thing} from {who.first}.",
                ),
                (
                    f"{who.first} is the boss of {other.first}.",
                    f"{other.first} works for {who.first}.",
                ),
                (
                    f"{who.first} lent {other.first} the {thing}.",
                    f"{other.first} borrowed the {thing} from {who.first}.",
                ),
                (
                    f"There are {number} {plural(thing)} in the {place}.",
                    f"The {place} has {number} {plural(thing)}.",
                ),
                (
                    f"{who.first} works as {article(job)}.",
                    f"{who.first}'s job is that of {article(job)}.",
                ),
                (
                    f"The {place} opened in {1900 + number}.",
                    f"Since {1900 + number} the {place} has been open.",
                ),
                (f"{who.first} has to {verb} {rest}.", f"{who.first} must {verb} {rest}."),
                (
                    f"It was {who.first} who {past(verb)} {rest}.",
                    f"{who.first} {past(verb)} {rest}.",
                ),
                (
                    f"{who.first} likes {gerund(verb)} {rest}.",
                    f"{who.first} enjoys it when {who.he} {third(verb)} {rest}.",
                ),
                (
                    f"{who.first} earns {number}00 euros.",
                    f"The salary of {who.first} is {number}00 euros.",
                ),
                (
                    f"The {thing} belongs to {who.first}.",
                    f"{who.first} is the owner of the {thing}.",
                ),
                (
                    f"{who.first} was born in {1900 + number} in {city}.",
                    f"{city} is the birthplace of {who.first}, born in {1900 + number}.",
                ),
            ]
        )
        one, two = pair if draw.chance(0.5) else (pair[1], pair[0])
        out.append(
            draw.one(
                f"{one} {two}",
                f"{one} In other words: {two}",
                f"{one} That is, {two[0].lower() + two[1:] if two[0] == 'T' else two}",
            )
        )
    return "\n".join(out)


def word_lists(draw: Draw) -> str:
    """Things by sort, and which sort a thing is."""
    sorts = draw.rng.sample(
        [
            "objects",
            "foods",
            "animals",
            "occupations",
            "colours",
            "hobbies",
            "places",
            "cities",
            "adjectives",
        ],
        3,
    )
    picks = {sort: draw.words(sort, draw.number(3, 6)) for sort in sorts}
    out = [f"{sort.capitalize()}: {', '.join(words)}" for sort, words in picks.items()]
    for sort, words in picks.items():
        word = draw.rng.choice(words)
        out.append(
            draw.one(
                f"{word.capitalize()} is in the list of {sort}.",
                f"{sort.capitalize()} sorted: {', '.join(sorted(words))}",
                f"The list of {sort} has {len(words)} entries.",
                f"Where is {word}? Under {sort}.",
            )
        )
    return "\n".join(out)


def description(draw: Draw) -> str:
    """A room or a street with things in places and of colours; then asked back."""
    place, things = draw.word("places"), draw.words("objects", draw.number(3, 6))
    looks = {
        thing: (
            draw.word("colours"),
            draw.word("adjectives"),
            draw.one(
                "on the left",
                "on the right",
                "near the door",
                "in the corner",
                "by the window",
                "in the middle",
            ),
        )
        for thing in things
    }
    out = [
        f"In the {place} there is {article(mood)} {colour} {thing} {spot}."
        for thing, (colour, mood, spot) in looks.items()
    ]
    asked = [
        draw.one(
            f"The {thing} is {looks[thing][0]}.",
            f"What colour is the {thing}? {looks[thing][0]}",
            f"The {thing} stands {looks[thing][2]}.",
            f"Where is the {thing}? {looks[thing][2]}",
            f"The {looks[thing][0]} {thing} is {looks[thing][1]}.",
        )
        for thing in draw.rng.sample(things, len(things))
    ]
    return " ".join(out) + "\n" + "\n".join(asked)


KINDS = {
    "encyclopaedia": encyclopaedia,
    "how_to": how_to,
    "recipe": recipe,
    "time_facts": time_facts,
    "comparisons": comparisons,
    "paraphrase": paraphrase,
    "word_lists": word_lists,
    "description": description,
}
