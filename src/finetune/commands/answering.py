"""What `chat` and `generate` share: which model, and how it writes."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from finetune import console
from finetune.errors import FinetuneError
from finetune.recipe.fields import Unfit, fields_of, fit
from finetune.recipe.limits import beyond
from finetune.recipe.parse import parse_value
from finetune.recipe.places import allowed
from finetune.recipe.problems import Problems
from finetune.recipe.tree import Place
from finetune.recipe.types import Settings

if TYPE_CHECKING:
    from finetune.talk.speaker import Said, Speaker

GENERATION = "GenerationConfig"
# The options that most people want; every other field is taken as well, and not listed.
SHOWN = ("max_new_tokens", "temperature", "top_p", "top_k", "repetition_penalty", "do_sample")
# Fields that mean something only when the next token is drawn rather than taken.
DRAWN = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


def takes_model(parser: argparse.ArgumentParser) -> None:
    """TARGET and what belongs to it."""
    parser.add_argument(
        "target",
        metavar="TARGET",
        help="a recipe, a run's or a stage's folder, a model's, an adapter's, a built-in base "
        "(tiny-mistral, tiny-mpt), or a hub id",
    )
    parser.add_argument(
        "--stage", dest="of_stage", help="which stage of a recipe or run; by default the last"
    )
    parser.add_argument("--base", metavar="MODEL", help="of an adapter: the model it goes on")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="of the base")
    parser.add_argument("--load-in-4bit", action="store_true", help="quantise the base (nf4)")
    parser.add_argument("--system", default="", metavar="TEXT", help="the system message")
    parser.add_argument("--seed", type=int, default=42, help="of what is drawn (42)")


def takes_generation(parser: argparse.ArgumentParser, max_new_tokens: int) -> None:
    """GenerationConfig's fields as options; a recipe's `generation` takes the same."""
    group = parser.add_argument_group(
        "transformers' GenerationConfig, by its names (these and the others a recipe takes)"
    )
    for name in allowed(GENERATION, "evaluate"):
        row = fields_of(GENERATION)[name]
        kind = " or ".join(each for each in row.types if each != "null")
        default = f" ({max_new_tokens})" if name == "max_new_tokens" else ""
        optional: dict[str, Any] = {"nargs": "?", "const": True} if "bool" in row.types else {}
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=f"generation.{name}",
            metavar=kind.upper().replace(" OR ", "|"),
            type=_reader(name),
            **optional,
            help=f"{kind}{default}" if name in SHOWN else argparse.SUPPRESS,
        )
    parser.set_defaults(max_new_tokens=max_new_tokens)


def _reader(name: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        row = fields_of(GENERATION)[name]
        problems = Problems()
        node = parse_value(text, Place(""), problems)
        if node is None:
            raise argparse.ArgumentTypeError(f"cannot be read: {text!r}")
        try:
            value = fit(node, row.types, row.choices)
        except Unfit as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        if message := beyond(name, value):
            raise argparse.ArgumentTypeError(message)
        return value

    return read


def generation_of(parsed: argparse.Namespace) -> Settings:
    """The fields given on the command line; asking to draw in some way asks to draw."""
    given = {
        key.removeprefix("generation."): value
        for key, value in vars(parsed).items()
        if key.startswith("generation.") and value is not None
    }
    if any(name in given for name in DRAWN):
        given.setdefault("do_sample", True)
    return {"max_new_tokens": parsed.max_new_tokens, **given}


def opened(parsed: argparse.Namespace) -> Speaker:
    """The model that TARGET means, in memory.

    Raises:
        FinetuneError: there is none, or it cannot be opened.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # asks for an optional package
    from finetune.chain.fingerprint import Fingerprints
    from finetune.chain.verify import check_model
    from finetune.talk.target import find_target, with_base

    base = with_base(parsed.base, parsed.dtype, parsed.load_in_4bit)
    target = find_target(parsed.target, parsed.of_stage, base)
    console.say(f"opening {target.name}")
    prints = Fingerprints.of_user()
    check_model(target.ref, prints)
    prints.save()
    from transformers import set_seed

    from finetune.stages.quiet import hush
    from finetune.talk.speaker import Speaker

    hush()
    set_seed(parsed.seed)
    speaker = Speaker(target)
    for note in speaker.notes:
        console.warn(note)
    if parsed.system:
        _check_system(speaker)
    return speaker


def _check_system(speaker: Speaker) -> None:
    import jinja2

    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    try:
        speaker.tokenizer.apply_chat_template(messages, tokenize=False)
    except jinja2.TemplateError as error:
        raise FinetuneError(
            f"the model's chat template takes no system message: {error}",
            where="--system",
            remedy="Put it into the first question.",
        ) from error


def tell_end(said: Said) -> None:
    """Say why an answer ends before its end."""
    if said.ended == "stopped":
        console.say("(stopped)")
    elif said.ended == "full":
        console.say("(cut here; --max-new-tokens allows more)")


def write(text: str) -> None:
    """A piece of an answer, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()
