"""What free summaries score: the first three and the longest three utterances of each dialogue.

Every fine-tuned model has to beat them; `evaluate` puts them into its table. With intervals, on
any file in SAMSum's or DialogSum's layout, one reference or several.

    python benchmarks/baselines.py FILE.jsonl [FILE.jsonl ...]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from finetune.recipe.types import Data, Score
from finetune.report.compared import scores
from finetune.scoring.compare import compare
from finetune.tasks import scored


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE.jsonl")
    found = {}
    for file in parser.parse_args().files:
        score = Score(task="samsum", data=Data(task="samsum", path=file))
        task, rows = scored.written(score), scored.rows(score, scored.examples(score))
        answers = task.baselines([], rows)
        by_row = {name: task.score_rows(texts, rows) for name, texts in answers.items()}
        found[Path(file).name] = compare(by_row, task.metrics, seed=42)
    sys.stdout.write(f"{scores(found)}\n")


if __name__ == "__main__":
    main()
