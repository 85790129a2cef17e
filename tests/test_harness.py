"""Tasks of lm-evaluation-harness where the extra is installed, and what is said without it."""

import importlib.util
import json

import pytest

from finetune.errors import FinetuneError
from finetune.recipe.types import Evaluate, Score
from finetune.scoring import files, harness

TASK = """\
task: lamps
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""


@pytest.fixture
def task(tmp_path):
    """A folder with a task over local rows."""
    rows = tmp_path / "rows.jsonl"
    docs = [
        {"question": f"Lamp {n} is", "choices": ["red", "blue"], "answer": n % 2} for n in range(12)
    ]
    rows.write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    (tmp_path / "lamps.yaml").write_text(TASK.replace("ROWS", str(rows)))
    return Score(task="lamps", include_path=str(tmp_path))


def written(folder, **models):
    """What the library's numbers look like on disk."""
    found = {
        name: {
            "rows": 4,
            "numbers": {
                "acc": {
                    "value": sum(rows) / 4,
                    "stderr": 0.1,
                    "higher_is_better": True,
                    "rows": rows,
                },
                "word_perplexity": {
                    "value": 12.5,
                    "stderr": None,
                    "higher_is_better": False,
                    "rows": [],
                },
            },
        }
        for name, rows in models.items()
    }
    files.write_object(folder / "harness-lamps.json", found)


def test_its_means_and_standard_errors_stand_as_it_says_them(tmp_path):
    written(tmp_path, base=[1.0, 0.0, 0.0, 0.0], sft=[1.0, 1.0, 1.0, 0.0])
    part = harness.compared(Score(task="lamps"), tmp_path, seed=1)
    acc = part["models"]["sft"]["acc"]
    assert acc["mean"] == 0.75
    assert acc["high"] - acc["mean"] == pytest.approx(1.96 * 0.1, rel=1e-3)
    assert part["models"]["base"]["word_perplexity"]["low"] is None
    pair = part["pairs"]["sft"]["acc"]
    assert (pair["wins"], pair["ties"], pair["losses"]) == (2, 2, 0)
    assert [each["better"] for each in part["metrics"]] == ["higher", "lower"]


@pytest.mark.heavy
@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="lm_eval is installed")
def test_without_the_extra_one_sentence_says_how_to_get_it():
    from finetune.stages.harness import Harness

    score = Score(task="arc_easy")
    with pytest.raises(FinetuneError, match="is none of finetune's tasks") as error:
        Harness(score, Evaluate(name="evaluate", tasks=(score,)), seed=1)
    assert "pip install 'finetune[harness]'" in str(error.value)


@pytest.mark.heavy
def test_a_task_of_the_library_runs_on_a_loaded_model(task, tmp_path, random_mistral):
    pytest.importorskip("lm_eval", reason="needs the extra: pip install 'finetune[harness]'")
    from finetune.job import Job, ModelRef
    from finetune.recipe.types import Base
    from finetune.stages import evaluate

    base = ModelRef(base=Base(model=str(random_mistral), dtype="float32"))
    out = tmp_path / "out"
    out.mkdir()
    job = Job(name="evaluate", out=out, seed=3, model=base, models={"base": base, "same": base})
    stage = Evaluate(name="evaluate", tasks=(task,), batch_size=4)
    evaluate.check(stage, job)
    scores = evaluate.run(stage, job).scores
    assert scores["base"] == scores["same"]
    part = files.comparison(out)["lamps"]
    assert part["rows"] == 12
    assert part["pairs"]["same"]["acc"]["ties"] == 12
    wrong = Score(task="lampz", include_path=task.include_path)
    with pytest.raises(FinetuneError, match="has a task 'lampz'"):
        evaluate.check(Evaluate(name="evaluate", tasks=(wrong,)), job)
