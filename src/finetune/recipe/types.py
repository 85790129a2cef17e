"""What a recipe says, as plain types: read, checked and handed to the stages.

`Settings` blocks carry the name of what they fill and take that class's own field names.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

from finetune.recipe.blocks import ENVIRONMENT, Settings, Stage, fills, named_by
from finetune.recipe.judging import TEMPLATE, Judge, Rubric
from finetune.recipe.leaving import Combine, Export
from finetune.recipe.tuning import Esft, Tuned

# How attention may be computed, by transformers' names.
ATTENTIONS = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")

# What of a conversation is learnt: see docs/recipe.md.
Mask = Literal["assistant", "completion", "last_turn", "all"]


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """A byte-level BPE tokenizer trained on the data of the first stage."""

    vocab_size: int = 4096


@dataclass(frozen=True, kw_only=True)
class Base:
    """The model a chain starts from: `model` (weights that exist) or `config` (random weights)."""

    # a built-in name, a folder, or a hub id
    model: str | None = field(default=None, metadata=ENVIRONMENT)
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: Settings | None = field(default=None, metadata=fills("BitsAndBytesConfig"))
    # how attention is computed, by transformers' name; None: the fastest that is installed
    attn_implementation: str | None = field(default=None, metadata={"known": ATTENTIONS})
    # a shipped one by name, or a .jinja file; None: the model's own
    chat_template: str | None = field(default=None, metadata=TEMPLATE)
    # `model_type` and fields of that architecture's config class
    config: Settings | None = field(default=None, metadata=named_by("model_type", "config."))
    tokenizer: Tokenizer | None = None  # with `config` only
    # tokens the tokenizer gets beside its own; learnt and saved with the adapter
    add_tokens: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Where rows lie, and what they mean."""

    task: Literal["samsum", "text_to_sql"] | None = None
    sample: Literal["samsum_preferences", "corpus"] | None = None
    # a file, folder, glob or hub id; with `task`, in that task's layout
    path: str | None = field(default=None, metadata=ENVIRONMENT)
    revision: str | None = None
    split: str = "train"
    streaming: bool = False  # of a hub id: read it over the network, keep no copy of all of it
    # the layout of the rows; None: recognised by columns and values
    format: (
        Literal[
            "text",
            "prompt_completion",
            "messages",
            "alpaca",
            "sharegpt",
            "preference",
            "hh",
            "ultrafeedback",
            "orca",
            "persona",
            "unpaired",
            "prompts",
        ]
        | None
    ) = None
    rows: int | None = None  # the first so many rows; of a mix, so many in all
    columns: dict[str, str] = field(default_factory=dict)  # {name we use: name in the file}
    few_shot: float = 0.0  # share of conversations with exemplars before them
    exemplars: tuple[int, ...] = (2, 5)  # from so many to so many
    options: float = 1.0  # share of the rows with a column `options` that list them


@dataclass(frozen=True, kw_only=True)
class Part(Rows):
    """One source of a mix; all have a `weight`, or none has and rows count, up to `cap`."""

    weight: float | None = None
    cap: int | None = None  # counts for no more than so many rows


@dataclass(frozen=True, kw_only=True)
class Data(Rows):
    """Rows: a task's own data, an embedded sample, a file, folder or hub id, or a mix of such."""

    mix: tuple[Part, ...] = ()
    shuffle: bool = False  # before `rows` are taken
    seed: int | None = None  # of `shuffle` and `mix`; None: the recipe's
    on_bad_row: Literal["fail", "skip"] = "fail"


@dataclass(frozen=True, kw_only=True)
class Pretrain(Stage):
    """Next-token training of all weights on plain text."""

    kind: ClassVar[str] = "pretrain"
    version: ClassVar[int] = 3

    data: Data
    batch_size: int = 32
    train: Settings = field(default_factory=dict, metadata=fills("SFTConfig"))


@dataclass(frozen=True, kw_only=True)
class Sft(Tuned):
    """Supervised fine-tuning; without `lora`, `peft` and `esft` all weights are trained."""

    kind: ClassVar[str] = "sft"
    version: ClassVar[int] = 4

    data: Data
    mask: Mask = "assistant"  # what is learnt: all answers, or those after the last question, …
    esft: Esft | None = None
    batch_size: int = 32
    batch_tokens: int | None = None  # tokens of a step, in place of rows
    train: Settings = field(default_factory=dict, metadata=fills("SFTConfig"))


@dataclass(frozen=True, kw_only=True)
class Dpo(Tuned):
    """Preference optimisation; the model before it, frozen, is the reference."""

    kind: ClassVar[str] = "dpo"
    version: ClassVar[int] = 4

    data: Data
    batch_size: int = 32
    train: Settings = field(default_factory=dict, metadata=fills("DPOConfig"))


# Other names are tasks of lm-evaluation-harness.
SCORED = ("samsum", "text_to_sql", "generic", "loss", "perplexity", "preference", "judge")


@dataclass(frozen=True, kw_only=True)
class SqlSuite:
    """How predicted SQL is tested on filled copies of its database."""

    copies: int = 8  # 0: on the database itself alone
    keep_distinct: bool = False  # False: DISTINCT is left out of both queries, as in the reference


@dataclass(frozen=True, kw_only=True)
class Score:
    """One task to score models on; `name` heads its columns in the table."""

    # one of finetune's own, or a task of lm-evaluation-harness
    task: str = field(metadata={"known": SCORED})
    name: str = ""  # filled with the task's name when empty
    data: Data | None = None  # None: the task's own test split
    rows: int | None = None
    reference: str | None = None  # preference: the model that rewards are measured against
    suite: SqlSuite | None = None  # text_to_sql: the copies of its databases
    # generic: names of metrics, or folders of `evaluate` modules; empty: exact_match and rouge
    metrics: tuple[str, ...] = ()
    max_length: int | None = None  # perplexity: tokens a model sees at once; None: its context
    stride: int | None = None  # perplexity: tokens between windows; None: half of max_length
    rubric: Rubric | None = None  # judge: what is asked
    judge: Judge | None = None  # judge: who is asked
    against: str | None = None  # judge, pairwise: the model whose answers the others' meet
    include_path: str | None = None  # harness: a folder of task files of your own
    num_fewshot: int | None = None  # harness: examples before each question
    apply_chat_template: bool = False  # harness: prompts in the model's chat template

    def __post_init__(self) -> None:
        """A task's name is that of its score."""
        object.__setattr__(self, "name", self.name or self.task)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model to score: `base`, a stage by its name, or one from outside by `model`."""

    name: str = field(metadata=ENVIRONMENT)  # heads its row in the table
    # a built-in name, a folder of a model or of an adapter on the base, or a hub id
    model: str | None = field(default=None, metadata=ENVIRONMENT)
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: Settings | None = field(default=None, metadata=fills("BitsAndBytesConfig"))
    chat_template: str | None = field(default=None, metadata=TEMPLATE)

    def base(self) -> Base:
        """The model from outside, as a base."""
        return base_of(self)


def base_of(block: Candidate | Judge) -> Base:
    """The base that a block with a base's keys names."""
    known = {each.name for each in fields(Base)}
    return Base(**{key: value for key, value in vars(block).items() if key in known})


@dataclass(frozen=True, kw_only=True)
class Evaluate(Stage):
    """Scores of several models on the same rows."""

    kind: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 3

    tasks: tuple[Score, ...]
    models: tuple[Candidate, ...] = ()  # empty: base and every stage before
    generation: Settings = field(default_factory=dict, metadata=fills("GenerationConfig"))
    batch_size: int = 32
    # {metric: ">= base + 5"} that the last of `models` must reach for the chain to go on
    require: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Merge(Stage):
    """The adapter folded into the base's weights, the difference measured on logits and tasks."""

    kind: ClassVar[str] = "merge"
    version: ClassVar[int] = 2

    onto: Literal["full_precision", "dequantized"] = "dequantized"
    combine: Combine | None = None
    # what the adapter and each way to merge it are scored on; on a quantised base both ways
    tasks: tuple[Score, ...] = ()
    # Most nats of mean KL from adapter to merged model; null: measured and kept whatever it is.
    tolerance: float | None = 0.1


ADAPTER = "adapter"  # the model a merge is compared with; beside it stand the ways to merge


MERGED = "merged"  # the only way on a base that is not quantised, whatever `onto` says


def ways(quantized: bool) -> tuple[str, ...]:
    """The ways to merge that a stage measures: on a quantised base both."""
    return ("full_precision", "dequantized") if quantized else (MERGED,)


STAGES: dict[str, type[Stage]] = {
    stage.kind: stage for stage in (Pretrain, Sft, Dpo, Evaluate, Merge, Export)
}


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Shares, from 0 to 1, above which a finding is told and a run refused; 1 is never."""

    warn: float | None = None
    refuse: float | None = None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What may be wrong with rows before it stops a run; by default what ruins one does."""

    cut_tokens: Threshold = Threshold(warn=0, refuse=0.01)
    shortened: Threshold = Threshold(warn=0.05, refuse=1)
    nothing_learnt: Threshold = Threshold(warn=0, refuse=0)
    unstopped: Threshold = Threshold(warn=0, refuse=0.99)
    double_bos: Threshold = Threshold(warn=0, refuse=0.5)
    apart: Threshold = Threshold(warn=0, refuse=1)
    lookalikes: Threshold = Threshold(warn=0, refuse=1)
    duplicates: Threshold = Threshold(warn=0.01, refuse=1)
    near_duplicates: Threshold = Threshold(warn=0.05, refuse=1)
    overlap: Threshold = Threshold(warn=0, refuse=1)
    damaged_text: Threshold = Threshold(warn=0.001, refuse=1)
    refused_rows: Threshold = Threshold(warn=0, refuse=1)
    length_bias: Threshold = Threshold(warn=0.75, refuse=1)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One chain of stages from a base to what leaves it."""

    name: str
    base: Base
    stages: tuple[Stage, ...]
    seed: int = 42
    audit: Audit = Audit()
    output_dir: str = field(default="", metadata=ENVIRONMENT)  # runs/<name> when empty
