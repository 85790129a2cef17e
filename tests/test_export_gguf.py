"""GGUF files hold the model: read back by transformers, and number by number."""

import pytest
from export_models import VARIANTS, logits, make, some_ids, write

from finetune.embedded import base_folder
from finetune.errors import FinetuneError

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of random models, made when they are first asked for."""
    made = {}

    def model(name):
        if name not in made:
            made[name] = make(name, tmp_path_factory.mktemp("model"))
        return made[name]

    return model


WHOLE = ("llama", "mistral", "qwen2", "phi3")
WEIGHTS = ("qwen3", "gemma2", "gemma3_text", "gpt2")


@pytest.mark.parametrize("name", WEIGHTS)
def test_transformers_reads_the_same_weights_from_gguf(name, models, tmp_path):
    from transformers import AutoConfig

    write(models(name), tmp_path / "m.gguf", "f32")
    config = AutoConfig.from_pretrained(models(name))
    found = logits(tmp_path, some_ids(), gguf_file="m.gguf", config=config)
    assert (logits(models(name), some_ids()) - found).abs().max() < 1e-5


@pytest.mark.parametrize("name", WHOLE)
def test_transformers_reads_the_whole_model_from_gguf(name, models, tmp_path):
    write(models(name), tmp_path / "m.gguf", "f32")
    found = logits(tmp_path, some_ids(), gguf_file="m.gguf")
    assert (logits(models(name), some_ids()) - found).abs().max() < 1e-5


def read(file):
    import gguf

    return gguf.GGUFReader(file)


def greedy(folder, **how):
    import torch
    from transformers import AutoModelForCausalLM

    from finetune.data.tokens import stop_ids
    from finetune.export import round_trip
    from finetune.models.tokenizers import load_tokenizer
    from finetune.recipe.types import Base

    model = AutoModelForCausalLM.from_pretrained(how.pop("at", folder), dtype=torch.float32, **how)
    tokenizer, _ = load_tokenizer(Base(model=str(folder)))
    return [
        round_trip.greedy(model.eval(), tokenizer(text).input_ids, stop_ids(tokenizer), 200)
        for text in ("Once upon a time", "The ferry leaves at half past six", "Noor: hello")
    ]


def test_200_greedy_tokens_of_a_merged_tiny_mistral_are_the_same_at_f16(tmp_path):
    from test_merge import adapter

    from finetune.job import ModelRef
    from finetune.models.merging import merge
    from finetune.models.tokenizers import load_tokenizer
    from finetune.recipe.types import Base

    base = base_folder("tiny-mistral")
    folder = adapter(
        tmp_path / "adapter", base, target_modules=["q_proj", "v_proj"], r=4, size=0.02
    )
    merged = tmp_path / "merged"
    merge(ModelRef(base=Base(model=str(base)), adapters=(folder,)), "full_precision", merged)
    load_tokenizer(Base(model=str(base)))[0].save_pretrained(merged)
    write(merged, tmp_path / "m.gguf", "f16")
    wanted = greedy(merged)
    assert wanted == greedy(merged, at=tmp_path, gguf_file="m.gguf")
    assert wanted != greedy(base)  # the adapter says something else
    assert max(map(len, wanted)) > 20


def test_200_greedy_tokens_of_a_pretrained_llama_are_the_same_at_f16(realdata, tmp_path):
    source = realdata / "stories260k"
    write(source, tmp_path / "m.gguf", "f16")
    wanted = greedy(source)
    assert wanted == greedy(source, at=tmp_path, gguf_file="m.gguf")
    assert max(map(len, wanted)) == 200


# Largest error of a weight, as a share of the largest weight among the 32 that share a scale.
ERRORS = {
    "f32": 0,
    "f16": 2**-11,
    "bf16": 2**-8,
    "q8_0": 0.6 / 127,
    "q5_1": 1.1 / 31,
    "q5_0": 1.1 / 16,
    "q4_1": 1.1 / 15,
    "q4_0": 1.1 / 8,
}


@pytest.mark.parametrize("kind", ERRORS)
def test_no_weight_is_further_off_than_its_type_allows(kind, models, tmp_path):
    import gguf
    import numpy as np
    from safetensors.numpy import load_file

    reader = read(write(models("mistral"), tmp_path / "m.gguf", kind))
    stored = {each.name: each for each in reader.tensors}
    weights = load_file(models("mistral") / "model.safetensors")
    wanted = weights["model.layers.0.mlp.up_proj.weight"].reshape(-1, 32)
    tensor = stored["blk.0.ffn_up.weight"]
    found = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(-1, 32)
    largest = np.abs(wanted).max(axis=1, keepdims=True)
    assert (np.abs(wanted - found) <= ERRORS[kind] * largest + 1e-12).all()
    assert tensor.tensor_type.name == kind.upper()
    assert stored["blk.0.attn_norm.weight"].tensor_type.name == "F32"
    ends = stored["token_embd.weight"].tensor_type.name
    assert ends == ("Q8_0" if kind.startswith("q") else kind.upper())


def test_rows_that_do_not_fill_a_block_stay_in_16_bits(tmp_path):
    from shapes import make_base

    folder = make_base("llama", tmp_path / "model", intermediate_size=44)
    reader = read(write(folder, tmp_path / "m.gguf", "q4_0"))
    kinds = {each.name: each.tensor_type.name for each in reader.tensors}
    assert kinds["blk.0.ffn_down.weight"] == "F16"
    assert kinds["blk.0.ffn_up.weight"] == "Q4_0"


def test_the_file_carries_the_chat_template_and_what_ends_an_answer(models, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models("mistral"))
    fields = read(write(models("mistral"), tmp_path / "m.gguf", "f16")).fields

    def value(name):
        return fields[f"tokenizer.{name}"].contents()

    assert value("chat_template") == tokenizer.chat_template
    assert value("ggml.eos_token_id") == tokenizer.eos_token_id
    assert value("ggml.bos_token_id") == tokenizer.bos_token_id
    assert value("ggml.add_bos_token") is True


def test_a_tied_head_is_written_once_and_an_untied_one_beside_it(models, tmp_path):
    for name, tied in (("qwen3", True), ("mistral", False)):
        reader = read(write(models(name), tmp_path / f"{name}.gguf", "f16"))
        assert ("output.weight" not in {each.name for each in reader.tensors}) is tied


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("bloom", {"hidden_size": 32, "n_layer": 1, "n_head": 4}, "for the architecture 'bloom'"),
        ("mpt", {"d_model": 32, "n_heads": 4, "attn_config": {"alibi": False}}, "takes ALiBi"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scales every layer alike"),
        ("gemma2", {"query_pre_attn_scalar": 17, "head_dim": 16}, "width of a head"),
        ("qwen2", {"use_sliding_window": True}, "attends to everything"),
    ],
)
def test_what_llama_cpp_has_not_is_refused_with_what_it_has(kind, fields, message):
    from transformers import AutoConfig

    from finetune.export.gguf_shapes import shape_of

    with pytest.raises(FinetuneError, match=message):
        shape_of(AutoConfig.for_model(kind, **fields))


def test_rotary_positions_that_llama_cpp_has_not_are_refused(tmp_path):
    from shapes import make_base

    scaled = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    folder = make_base("llama", tmp_path / "model", rope_parameters=scaled)
    with pytest.raises(FinetuneError, match="rotary positions of the type 'dynamic'"):
        write(folder, tmp_path / "m.gguf", "f16")


def test_a_tokenizer_that_splits_otherwise_is_refused(models):
    from tokenizers import Regex, pre_tokenizers
    from transformers import AutoTokenizer

    from finetune.export.gguf_vocabulary import check_vocabulary

    tokenizer = AutoTokenizer.from_pretrained(models("mistral"))
    check_vocabulary(tokenizer)
    parts = [
        pre_tokenizers.Split(Regex(r"\p{L}{3}"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    with pytest.raises(FinetuneError, match="no tokenizer of splitting by"):
        check_vocabulary(tokenizer)


def test_what_transformers_is_said_to_read_is_what_is_tested():
    from finetune.export import readers

    assert readers.WHOLE_BY_TRANSFORMERS == WHOLE
    assert readers.WEIGHTS_BY_TRANSFORMERS == WEIGHTS


def test_every_architecture_that_is_written_is_tested():
    from finetune.export.gguf_shapes import SHAPES

    assert set(SHAPES) == {kind for kind, _ in VARIANTS.values()}
