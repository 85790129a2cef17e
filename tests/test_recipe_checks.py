"""What only the whole recipe tells: ranges, settings side by side, stages that fit together."""

import textwrap

import pytest
from recipe_text import found, loaded, said

from finetune.embedded import recipe_folder
from finetune.recipe import load

CHAIN = """\
base:
  model: tiny-mistral
  quantization: {load_in_4bit: true}
stages:
  - sft:
      data: rows.jsonl
      lora: {r: 4}
      train: {learning_rate: 1e-3}
  - dpo:
      data: pairs.jsonl
      train: {beta: 0.1}
  - merge: {}
  - evaluate:
      tasks: [samsum]
      models: [base, sft, merge]
      generation: {max_new_tokens: 8}
"""
PLAIN = CHAIN.replace("  quantization: {load_in_4bit: true}\n", "")
FULL = """\
base: {model: tiny-mistral}
stages:
  - sft: {data: rows.jsonl}
  - dpo: {data: pairs.jsonl, train: {beta: 0.1}}
"""
RANDOM = """\
base: {config: {model_type: mistral}, tokenizer: {vocab_size: 512}}
stages:
  - pretrain: {data: corpus.jsonl}
"""


def stages(*rows):
    """A recipe of stages on a base that is not quantised."""
    listed = "".join(f"  - {row}\n" for row in rows)
    return f"base: {{model: tiny-mistral}}\nstages:\n{listed}"


SFT, DPO = "sft: {data: a.jsonl, lora: {}}", "dpo: {data: b.jsonl}"


@pytest.mark.parametrize(
    "text",
    [
        CHAIN,
        PLAIN,
        FULL,
        RANDOM,
        stages("evaluate: {tasks: [samsum]}", SFT),
        stages("dpo: {data: b.jsonl, lora: {}}", "merge"),
        stages(SFT, "merge", "dpo: {data: b.jsonl, lora: {}}", "merge: {name: last}"),
        stages(SFT, "sft: {name: again, data: b.jsonl}"),
        stages(SFT, "sft: {name: other, data: b.jsonl, lora: {}, from: base}"),
        stages(SFT, DPO, "dpo: {name: other, data: b.jsonl, from: sft}", "merge: {from: dpo}"),
        stages("evaluate: {tasks: [{task: loss, data: rows.jsonl}]}"),
        *(stages(SFT, f"dpo: {{data: b, lora: {word}}}") for word in ("continue", "new", "merge")),
        stages(SFT, "dpo: {data: b, lora: {r: 2}}", "sft: {name: third, data: c, lora: new}"),
        stages("sft: {data: a, peft: {method: ia3}}", "dpo: {data: b, lora: continue}", "merge"),
        stages("sft: {data: a, lora: {init_lora_weights: pissa}}", "dpo: {data: b, lora: new}"),
        stages("sft: {data: a, lora: {}, loraplus: {lr_ratio: 16}}"),
        stages("sft: {data: a, esft: {top_p: 0.1, score: gate}}", "dpo: {data: b, lora: {}}"),
    ],
)
def test_a_chain_that_makes_sense_is_taken(tmp_path, text):
    assert found(tmp_path, text) == []


@pytest.mark.parametrize("file", sorted(recipe_folder().rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_recipe_that_ships_is_taken(file):
    assert load(file).stages


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("dpo.train.beta=-0.1", "dpo.train.beta: must be above 0, got -0.1"),
        ("dpo.train.beta=0", "dpo.train.beta: must be above 0, got 0.0"),
        ("sft.train.learning_rate=0", "must be above 0"),
        ("sft.train.num_train_epochs=0", "must be above 0"),
        ("sft.batch_size=0", "sft.batch_size: must be 1 or more, got 0"),
        ("sft={batch_size: 8, batch_tokens: 900}", "sft.batch_tokens: `batch_size` counts a step"),
        ("sft.train={packing: true, max_length: null}", "needs a `max_length` to fill"),
        ("sft.data.rows=0", "sft.data.rows: must be 1 or more, got 0"),
        ("sft.lora.r=0", "must be 1 or more"),
        ("sft.lora.lora_dropout=1", "must be 0 or more and below 1, got 1.0"),
        ("dpo.train.ld_alpha=1.5", "must be 0 or more and 1 or less, got 1.5"),
        ("seed=-1", "seed: must be 0 or more and 4294967295 or less, got -1"),
        ("merge.tolerance=-1", "must be 0 or more"),
        ("evaluate.generation.max_new_tokens=0", "must be 1 or more"),
        ("name=a/b", "name: 'a/b' becomes a folder"),
    ],
)
def test_a_number_out_of_its_range_is_refused_with_the_range(tmp_path, change, message):
    assert message in said(tmp_path, CHAIN, change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("dpo.train.label_smoothing=0.1", "read by none of these losses; add `loss_type: robust`"),
        ("dpo.train.loss_type=exo_pair", "exo_pair needs `label_smoothing` above 0"),
        ("dpo.train.loss_weights=[1, 2]", "one weight for each loss"),
        ("dpo.train.discopop_tau=0.1", "only by `loss_type: discopop`"),
        ("dpo.train.f_alpha_divergence_coef=0.1", "f_divergence_type: alpha_divergence"),
        ("dpo.train.ref_model_sync_steps=4", "only with `sync_ref_model: true`"),
        ("sft.train={max_steps: 3, num_train_epochs: 1}", "keep one of the two"),
        ("sft.train={fp16: true, bf16: true}", "`bf16` is on already"),
        ("sft.train={loss_type: dft, label_smoothing_factor: 0.1}", "with `loss_type: nll`"),
        ("sft.train.liger_kernel_config={rope: false}", "only with `use_liger_kernel: true`"),
        (
            "sft.train={use_liger_kernel: true, liger_kernel_config: {cross_entropy: true}}",
            "TRL's trainers have a head of their own",
        ),
        ("sft.train.lr_scheduler_type=reduce_lr_on_plateau", "does not compute"),
        ("sft.train.optim_target_modules=[q]", "galore and apollo"),
        ("base.quantization.load_in_8bit=true", "`load_in_4bit` is on already"),
        ("base.quantization.llm_int8_threshold=5", "only with `load_in_8bit: true`"),
        ("evaluate.generation.temperature=0.5", "only with `do_sample: true`"),
        ("evaluate.generation.top_p=0.5", "only with `do_sample: true`"),
        ("evaluate.generation.length_penalty=0.5", "only with `num_beams` above 1"),
        ("evaluate.generation.min_new_tokens=9", "more than `max_new_tokens`"),
        ("sft.lora.layers_pattern=h", "only with `layers_to_transform`"),
    ],
)
def test_a_setting_that_the_library_would_not_read_is_refused(tmp_path, change, message):
    assert message in said(tmp_path, CHAIN, change)


@pytest.mark.parametrize(
    "changes",
    [
        ("dpo.train={label_smoothing: 0.1, loss_type: robust}",),
        ("sft.train={use_liger_kernel: true, liger_kernel_config: {rope: false}}",),
        ("dpo.train={label_smoothing: 0.1, loss_type: [sigmoid, aot]}",),
        ("dpo.train={label_smoothing: 0, loss_type: hinge}",),
        ("dpo.train={loss_type: [sigmoid, sft], loss_weights: [1, 0.5]}",),
        ("evaluate.generation={do_sample: true, temperature: 0.5}",),
        ("base.quantization={load_in_4bit: false, load_in_8bit: true, llm_int8_threshold: 5}",),
        ("sft.train.max_steps=3",),
    ],
)
def test_the_same_setting_is_taken_where_it_is_read(tmp_path, changes):
    assert found(tmp_path, CHAIN, *changes) == []


def test_options_of_4_bits_need_4_bits(tmp_path):
    text = CHAIN.replace("load_in_4bit: true", "bnb_4bit_quant_type: nf4, load_in_8bit: true")
    assert "only with `load_in_4bit: true`" in said(tmp_path, text)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("{}", "base: needs `model`"),
        ("{model: x, config: {model_type: mistral}, tokenizer: {}}", "keep one of the two"),
        ("{config: {model_type: mistral}}", "random weights need a `tokenizer"),
        ("{model: x, tokenizer: {}}", "base.tokenizer: belongs to `config`"),
        ("{model: x, quantization: {}}", "set `load_in_4bit: true`"),
        (
            "{config: {model_type: mistral}, tokenizer: {}, revision: x}",
            "base.revision: belongs to `model`",
        ),
    ],
)
def test_a_base_is_either_a_model_or_a_config(tmp_path, base, message):
    rows = "pretrain: {data: corpus.jsonl}"
    assert message in said(tmp_path, f"base: {base}\nstages: [{rows}]\n")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{split: train}", "sft.data: needs `task`, `sample`, `path` or `mix`"),
        ("{sample: corpus, path: x.jsonl}", "`sample` names the rows already"),
        ("{task: samsum, revision: abc}", "sft.data.revision: belongs to the `path`"),
    ],
)
def test_data_says_in_one_way_where_rows_come_from(tmp_path, data, message):
    assert message in said(tmp_path, stages(f"sft: {{data: {data}, lora: {{}}}}"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [SFT, SFT, "merge"],
            "stages[2]: a stage named 'sft' stands above; give this one another `name`",
        ),
        (
            ["sft: {name: base, data: a, lora: {}}"],
            "a stage cannot be named 'base'",
        ),
        (["sft: {name: seed, data: a, lora: {}}"], "a stage cannot be named 'seed'"),
        (["sft: {name: a b, data: a, lora: {}}"], "'a b' becomes a folder"),
        (["merge"], "merge: there is no adapter to merge"),
        (["sft: {data: a}", "merge"], "merge: there is no adapter to merge"),
        ([SFT, "merge", "merge: {name: two}"], "two: there is no adapter to merge"),
        (["sft: {data: a, lora: new}"], "sft.lora: there is no adapter before this stage to stack"),
        (["sft: {data: a, lora: neu}"], "sft.lora: no such choice: 'neu'; did you mean 'new'?"),
        ([SFT, "sft: {name: b, data: b, peft: {method: ia3}}"], "PEFT stacks one method only"),
        ([SFT, "dpo: {data: b, lora: {modules_to_save: [lm_head]}}"], "one adapter at a time"),
        ([SFT, "dpo: {data: b, lora: {init_lora_weights: pissa}}"], "pissa starts from the base's"),
        (["sft: {data: a, lora: {}, peft: {method: ia3}}"], "sft.peft: `lora` says already"),
        (["sft: {data: a, lora: {}, esft: {}}"], "sft.esft: `lora` says already"),
        ([SFT, "sft: {name: b, data: b, esft: {}}"], "b.esft: the adapter of 'sft' must be merged"),
        (["sft: {data: a, lora: {init_lora_weights: loftq}}"], "this base is not in 4 bits"),
        (["sft: {data: a, lora: {eva_config: {rho: 1.0}}}"], "only with `init_lora_weights: eva`"),
        (["sft: {data: a, lora: {eva_config: {rho: x}}}"], "sft.lora.eva_config.rho: must be a"),
        (
            [
                "sft: {data: a, lora: {init_lora_weights: olora, use_rslora: true, "
                "rank_pattern: {q: 2}}}"
            ],
            "PEFT cannot save",
        ),
        (["sft: {data: a, loraplus: {lr_ratio: 16}}"], "sft.loraplus: raises the rate of LoRA's B"),
        (["sft: {data: a, lora: {}, loraplus: {lr_ratio: 0.5}}"], "must be 1 or more, got 0.5"),
        (["sft: {data: a, peft: {method: prompt_tuning}}"], "which no merge can"),
        (["sft: {data: a, peft: {method: ai3}}"], "no such method: 'ai3'; did you mean 'ia3'?"),
        (["sft: {data: a, peft: {r: 4}}"], "sft.peft.method: `method` is missing; known: adalora"),
        (["sft: {data: a, peft: {method: vera, rr: 4}}"], "sft.peft.rr: no such field in vera"),
        (["sft: {data: a, peft: {method: adalora}}", DPO], "dpo.lora: DPO keeps a frozen copy"),
        ([SFT, "pretrain: {data: c}"], "pretrain: the adapter of 'sft' must be merged"),
        ([SFT, "dpo: {data: b, from: stf}"], "dpo.from: no stage 'stf'; did you mean 'sft'?"),
        (["dpo: {data: b, from: sft}", SFT], "dpo.from: 'sft' is not a model that this stage has"),
        ([SFT, "evaluate: {tasks: [samsum], models: [stf]}"], "did you mean 'sft'?"),
        ([SFT, "evaluate: {tasks: [samsum], models: [sft, sft]}"], "'sft' stands there twice"),
        ([SFT, "evaluate: {tasks: [samsum], from: sft}"], "has `models` instead"),
        (["evaluate: {tasks: [samsum], models: [sft]}", SFT], "it comes later"),
        (["evaluate: {tasks: []}"], "name one task or more"),
        (["evaluate: {tasks: [samsum, samsum]}"], "tasks[2]: a score named 'samsum' stands above"),
        (["evaluate: {tasks: [loss]}"], "tasks[1]: the task 'loss' needs `data`"),
        (["evaluate: {tasks: [{task: samsum, reference: base}]}"], "only with `task: preference`"),
        (["evaluate: {tasks: [{task: samsum, data: {task: text_to_sql}}]}"], "not of 'samsum'"),
        (
            [SFT, "evaluate: {tasks: [{task: preference, data: b, reference: sf}]}"],
            "tasks[1].reference: no stage 'sf'; did you mean 'sft'?",
        ),
        (
            ["sft: {data: a, lora: {bias: all}}", DPO],
            "sft.lora.bias: 'dpo' keeps a second adapter",
        ),
        ([SFT, "dpo: {data: b, train: {sync_ref_model: true}}"], "leave `lora` out"),
        (["sft: {lora: {}}"], "sft: `data` is missing"),
        (["sfft: {data: a}"], "sfft: no such kind of stage; did you mean 'sft'?"),
        (["sft: 5"], "stages: the settings of `sft` must be a mapping, got 5"),
        (["5"], "stages: a stage is `KIND: {…}` with one of pretrain, sft"),
        (["{sft: {data: a}, dpo: {data: b}}"], "a stage is `KIND: {…}`"),
    ],
)
def test_stages_that_do_not_fit_together_are_refused(tmp_path, rows, message):
    assert message in said(tmp_path, stages(*rows))


def test_no_stages_are_refused(tmp_path):
    assert "name one stage or more" in said(tmp_path, "base: {model: x}\nstages: []\n")
    assert "stages: is missing" in said(tmp_path, "base: {model: x}\n")
    assert "stages: is missing" in said(tmp_path, "base: {model: x}\nstages: null\n")
    assert "base: is missing" in said(tmp_path, f"stages: [{SFT}]\n")


@pytest.mark.parametrize("name", ["sft", "pretrain"])
def test_all_weights_of_a_quantised_base_cannot_be_trained(tmp_path, name):
    text = f"""\
    base: {{model: x, quantization: {{load_in_4bit: true}}}}
    stages: [{{{name}: {{data: a.jsonl}}}}]
    """
    assert "all weights of a quantised base cannot be trained" in said(tmp_path, text)


def test_a_merged_model_is_not_quantised_so_all_its_weights_can_be_trained(tmp_path):
    text = CHAIN.partition("  - evaluate")[0] + "  - sft: {name: after, data: a.jsonl}\n"
    assert found(tmp_path, text) == []


def test_dpo_of_a_quantised_base_without_an_adapter_is_refused(tmp_path):
    text = CHAIN.replace("  - merge: {}\n", "").replace("[base, sft, merge]", "[base]")
    head, tail = text.split("  - sft:")[0], text.split("  - dpo:")[1]
    assert "all weights of a quantised base" in said(tmp_path, f"{head}  - dpo:{tail}")


def test_random_weights_are_trained_before_anything_else(tmp_path):
    text = RANDOM.replace("pretrain: {data", "sft: {data")
    assert "the first stage after `base.config` must be pretrain" in said(tmp_path, text)
    more = RANDOM + "  - evaluate: {tasks: [samsum], models: [base]}\n"
    assert "the base has no weights here" in said(tmp_path, more)


def test_what_rests_on_a_mistake_is_not_told_as_a_second_one(tmp_path):
    assert "did you mean 'load_in_4bit'?" in said(
        tmp_path, CHAIN.replace("load_in_4bit", "load_in_4bits")
    )
    assert "did you mean 'lora'?" in said(
        tmp_path, textwrap.dedent(PLAIN).replace("lora: {r: 4}", "loar: {r: 4}")
    )
    assert "loss_tpe" in said(tmp_path, CHAIN, "dpo.train={label_smoothing: .1, loss_tpe: robust}")


def test_the_names_of_scores_default_to_their_tasks(tmp_path):
    score = loaded(tmp_path, CHAIN).stages[3].tasks[0]
    assert (score.task, score.name) == ("samsum", "samsum")
