"""benchmarks/gpu.py keeps what it has measured, whatever happens to the rest."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
STUB = """
import json, sys, time
for text in sys.stdin:
    spec = json.loads(text)
    kind, way = spec["kind"], spec.get("way", "")
    if kind == "prepare":
        answer = {"status": "ok", "made": {"model": "x"}, "machine": {"device": "a stub"}}
    elif kind == "sft_lora" and way == "defaults":
        sys.exit("a driver error")
    elif kind == "dpo" and way == "ours":
        time.sleep(600)
    elif kind == "merge":
        answer = {"status": "failed", "error": "OutOfMemoryError: CUDA out of memory"}
    else:
        answer = {"status": "ok", "tokens_per_second": 1000.0, "peak_bytes": 2e9, "seconds": 1.0}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(params=[True, False], ids=["once each", "one for all"])
def measure(request, tmp_path, monkeypatch, capsys):
    """Runs the script with made-up measurements; gives its rows and what it printed."""
    spec = importlib.util.spec_from_file_location("gpu", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    (tmp_path / "gpu_measure.py").write_text(STUB)
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(script, "HERE", tmp_path)
    monkeypatch.setattr(script, "KINDS", {"sft_lora": 60, "dpo": 1.5, "merge": 60})
    monkeypatch.setattr(script, "LEAST", 0.1)
    monkeypatch.setattr("finetune.chain.child.has_accelerator", lambda: request.param)

    def run(*words):
        places = ["--folder", str(tmp_path / "work"), "--json", str(tmp_path / "gpu.json")]
        shape = ["--shape", "tiny-mpt", "--only", "sft_lora,dpo,merge"]
        monkeypatch.setattr(sys, "argv", ["gpu.py", *shape, *places, *words])
        script.main()
        assert not list((tmp_path / "work").iterdir())
        found = json.loads((tmp_path / "gpu.json").read_text())
        return found, capsys.readouterr().out

    return run


def test_a_measurement_that_fails_dies_or_lasts_is_told_and_the_others_go_on(measure):
    found, out = measure()
    rows = {(row["kind"], row["way"]): row for row in found["measurements"]}
    statuses = {key: row["status"] for key, row in rows.items()}
    assert statuses.pop(("sft_lora", "defaults")) == "failed"
    assert statuses.pop(("dpo", "ours")) == "late"
    assert {each for (kind, _), each in statuses.items() if kind == "merge"} == {"failed"}
    assert {each for (kind, _), each in statuses.items() if kind != "merge"} == {"ok"}
    assert len(statuses) == 7
    assert "a driver error" in rows["sft_lora", "defaults"]["error"]
    assert "CUDA out of memory" in out
    assert found["machine"] == {"device": "a stub"}
    assert "2.00" in out


def test_what_there_is_no_time_for_is_not_begun(measure):
    found, _ = measure("--minutes", "0")
    assert [row["status"] for row in found["measurements"]] == ["not begun"]


def test_a_name_that_is_none_is_refused_with_those_there_are(measure, capsys):
    with pytest.raises(SystemExit):
        measure("--only", "sft,dpo")
    assert "'sft' is none of sft_lora, dpo, merge" in capsys.readouterr().err


@pytest.mark.heavy
def test_a_token_costs_what_trl_says_and_what_the_adapter_adds(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import gpu_measure
    from transformers import AutoConfig
    from trl.trainer.utils import compute_flops_per_token

    fields = dict(gpu_measure.SHAPES["tiny-mistral"])
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    config.save_pretrained(tmp_path)
    width, heads, inner = config.hidden_size, config.num_key_value_heads, config.intermediate_size
    narrow = width // config.num_attention_heads * heads
    ends = [(width, width)] * 2 + [(width, narrow)] * 2 + [(width, inner)] * 3
    adapter = 2 * gpu_measure.against_trl.LORA["r"] * sum(map(sum, ends)) * config.num_hidden_layers
    forward = compute_flops_per_token(config, 256) / 3  # its gradients cost twice as much
    assert gpu_measure.flops(tmp_path)["flops_forward"] == forward + adapter


@pytest.mark.heavy
def test_what_libraries_print_is_no_answer(monkeypatch):
    """DeepSpeed writes to standard output as it is imported."""
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    command = [sys.executable, str(SCRIPT.with_name("gpu_measure.py"))]
    spec = json.dumps({"kind": "none"}) + "\n"
    done = subprocess.run(command, input=spec, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["status"] == "failed"
