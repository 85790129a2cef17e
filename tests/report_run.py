"""A run folder as a chain leaves it, without a model: for tests of what is told about it."""

import json
from pathlib import Path

from finetune.chain.journal import Entry, Journal
from finetune.chain.record import Record, list_files

HOSTILE = (
    "<script>document.title = 'broken'</script>",
    "</style><style>*{display:none}</style></title></p></article></main><h1>out</h1>",
    '" onmouseover="alert(1)" \' x=\'',
    "<img src=https://example.invalid/a.png onerror=alert(1)> <a href=javascript:alert(1)>here</a>",
    "before \u202e esrever \u2066 and \0 nothing \x1b[31m red \x7f",
    "\ud800 lone half, {{ 7 * 7 }} {% raw %} ${x} &lt;b&gt; &amp;",
    "W" * 3000,
    "\N{GRINNING FACE}\N{ZERO WIDTH JOINER}\N{ROCKET}",
    "\N{HEBREW LETTER ALEF}\N{HEBREW LETTER BET} right to left \N{ARABIC LETTER SEEN}",
    "",
)
MODELS = ("base", "sft", "dpo")
METRICS = [
    {"name": "rouge1", "better": "higher", "unit": "%"},
    {"name": "length", "better": "neither", "unit": "words"},
    {"name": "empty", "better": "lower", "unit": "%", "in_table": False},
]
RECIPE = (
    "name: small\nseed: 7\nbase: {model: tiny-mistral}\nstages:\n- sft: {data: {task: samsum}}\n"
)
ROWS = 60


def write_lines(file: Path, lines: list[dict]) -> None:
    file.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")


def make(
    folder: Path,
    stages: tuple[str, ...] = ("sft", "dpo", "merge", "evaluate"),
    ending: str = "done",
    rate: float = 1.0,
    **journal: str,
) -> Path:
    """Write a run of these stages; the ones after them are planned and not reached."""
    names = ("sft", "dpo", "merge", "evaluate")
    for index, name in enumerate(names):
        if name in stages:
            stage(folder, name, key_of(name), rate, kept=index == 0)
    entries = [
        Entry(
            name=name,
            kind=name,
            key=key_of(name),
            takes_from=[] if name == "sft" else ["sft"],
            status="keep" if name == "sft" else "run",
            reason="" if name == "sft" else "dpo.train.beta 0.1 -> <b>0.2</b>",
        )
        for name in names
    ]
    told = Journal(
        **{
            "name": "small & <i>quick</i>",
            "recipe": RECIPE,
            "seed": 7,
            "steps": entries,
            "started": "2026-11-21T10:00:00+00:00",
            "ending": ending,
            **journal,
        }
    )
    data = {**vars(told), "steps": [vars(each) for each in entries]}
    (folder / "run.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


def key_of(name: str) -> str:
    return f"{name:x<64}"


def stage(folder: Path, name: str, key: str, rate: float, kept: bool) -> None:
    own = folder / f"{name}-{key[:8]}"
    own.mkdir(parents=True)
    {"sft": _trained, "dpo": _trained, "merge": _nothing, "evaluate": evaluated}[name](own, rate)
    settings = {"data": {"rows": 400}}
    facts = {
        "sft": {"rows": 400, "steps": 30, "loss_first": 3.5, "loss_last": 1.25},
        "dpo": {"rows": 90, "steps": 30, "step_0_loss": 0.693147, "last_reward_accuracy": 0.75},
        "merge": {
            "onto": "dequantized",
            **{f"dequantized_{each}": 1.5e-6 for each in ("max_logit", "mean_logit", "mean_kl")},
        },
        "evaluate": {},
    }[name]
    record = Record(
        key=key,
        ingredients={"settings": settings, "seed": 7, "data": {"a'<b>.jsonl": "00ff" * 16}},
        kind=name,
        name=name,
        model=None,
        facts=facts,
        scores={},
        warnings=[f"3 of 400 rows lost <b>something</b>: {HOSTILE[0]}"] if name == "sft" else [],
        made={
            "seconds": 61.5,
            "started": "2026-11-21T10:00:00+00:00",
            "finished": f"2026-11-21T10:0{len(name)}:00+00:00",
            "device": "x86_64",
            "peak_memory": {"ram": 2_100_000_000},
            "versions": {"trl": "1.16.0" if name == "dpo" else "1.15.9"},
            "ranks": 1,
        },
        files=list_files(own),
        folder=own,
    )
    record.write(own)


def _nothing(own: Path, rate: float) -> None:
    """A stage without files that a report reads."""


def _trained(own: Path, rate: float) -> None:
    pairs = own.name.startswith("dpo")
    history = []
    for step in range(1, 31):
        entry = {"step": step, "loss": 3.5 * rate / step, "learning_rate": 1e-4 / step}
        if pairs:
            entry |= {"rewards/margins": 0.1 * step, "rewards/accuracies": 0.5 + step / 100}
        history.append(entry)
    write_lines(own / "history.jsonl", [*history, {"train_runtime": 1.0, "step": 30}])
    runs = [
        {"text": text, "learnt": number % 2 == 1, "tokens": 3}
        for number, text in enumerate(HOSTILE)
    ]
    sample = {"row": 0, "title": "", "runs": runs, "shortened": False, "cut": 0}
    write_lines(own / "samples.jsonl", [sample])


def evaluated(own: Path, rate: float) -> None:
    """Rows 0 to 9 are hostile; dpo gains on the first third and loses on the second."""
    predictions, scores, details = [], [], []
    for row in range(ROWS):
        text = HOSTILE[row % len(HOSTILE)]
        answers = {"base": "a plain answer", "sft": text, "dpo": f"{text} more {row}"}
        predictions.append(
            {"row": row, "prompt": text, "references": ["a plain answer"], "predictions": answers}
        )
        gain = (20 - row if row < 20 else 20 - row if row < 40 else 0) * rate
        values = {"base": 30.0, "sft": 31.0, "dpo": 30.0 + gain}
        scores.append({"row": row, "scores": {m: {"rouge1": v} for m, v in values.items()}})
        result = {"sql": text, "error": "", "columns": [text], "rows": [[text], [None]]}
        gold = {**result, "row_count": 12}
        failed = {"sql": text, "error": text or "failed", "columns": [], "rows": [], "row_count": 0}
        models = {
            "base": {**gold, "verdict": "right"},
            "sft": {**failed, "verdict": "fails"},
            "dpo": {**gold, "verdict": "wrong"},
        }
        details.append({"row": row, "details": {"gold": gold, "models": models}})
    replies = [
        {"row": row, "replies": {"dpo": [["?", f"judged: {HOSTILE[row % len(HOSTILE)]}"]]}}
        for row in range(ROWS)
    ]
    write_lines(own / "replies-samsum.jsonl", replies)
    write_lines(own / "predictions-samsum.jsonl", predictions)
    write_lines(own / "scores-samsum.jsonl", scores)
    write_lines(own / "details-samsum.jsonl", details)
    (own / "comparison.json").write_text(json.dumps(comparison(rate)), encoding="utf-8")


def comparison(rate: float) -> dict:
    """Numbers with more digits than are shown."""
    models, pairs = {}, {}
    for number, model in enumerate((*MODELS, "lead_3")):
        models[model] = {
            metric["name"]: {
                "mean": rate * (10.123456 + 7.77777 * number + at),
                "low": 9.87654321 + number,
                "high": 12.3456789 + 8 * number + at,
            }
            for at, metric in enumerate(METRICS)
        }
        if number:
            pairs[model] = {
                metric["name"]: {
                    "difference": 7.7777 * number - 9,
                    "low": 7.7777 * number - 10,
                    "high": 7.7777 * number - 8,
                    "p": 0.0001 * number,
                    "wins": 40,
                    "ties": 15,
                    "losses": 5,
                }
                for metric in METRICS
            }
    return {
        "samsum": {
            "metrics": METRICS,
            "rows": ROWS,
            "against": "base",
            "models": models,
            "pairs": pairs,
            "baselines": ["lead_3"],
            "statistics": {"level": 0.95},
            "groups": {
                "<i>hardness</i>": {
                    label: {"rows": rows, "models": {m: {"rouge1": rows + 0.123} for m in MODELS}}
                    for label, rows in ((HOSTILE[0], 41), ("easy", 19))
                }
            },
        }
    }
