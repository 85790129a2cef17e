"""An export holds the model in every format, says so truthfully, and can be uploaded."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from hub_stand_in import TOKEN, hub
from tiny_chain import ends, settings, write

from finetune.errors import FinetuneError
from finetune.job import Job, ModelRef
from finetune.recipe import load
from finetune.recipe.leaving import Card
from finetune.recipe.types import Base, Export

pytestmark = pytest.mark.heavy

NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
FORMATS = ["safetensors", "adapter", "gguf", "ollama", "bnb4"]


@pytest.fixture(scope="module")
def exported(random_mistral, tmp_path_factory):
    """A chain from a quantised base to every format; its recipe and the folder written."""
    folder = tmp_path_factory.mktemp("exported")
    recipe = settings(folder, random_mistral)
    recipe["base"]["quantization"] = NF4
    card = {"license": "mit", "language": ["en"], "tags": ["lamps"], "description": "Of lamps."}
    export = {"formats": FORMATS, "gguf": ["f32", "q8_0"], "prompts": 5, "card": card}
    recipe["stages"].append({"export": export})
    assert ends("run", write(folder, recipe)) == 0
    (made,) = (folder / "run").glob("export-*/export")
    return recipe, made


def record(folder):
    return json.loads((folder.parent / "record.json").read_text())


def test_every_format_is_there_and_read_back(exported):
    _, folder = exported
    facts = record(folder)["facts"]
    assert (folder / "run-Q8_0.gguf").is_file()
    for name in ("safetensors", "adapter", "f32"):
        assert facts[f"{name}_answers_equal"] == facts[f"{name}_ids_equal"] == 5
        assert facts[f"{name}_agreed"] == 1.0
    assert "safetensors 5/5, adapter 5/5" in facts["equal_answers"]
    assert not list(folder.glob("**/*.bin"))


def test_the_folder_opens_in_plain_transformers_and_answers_end(exported):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, folder = exported
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert tokenizer.chat_template
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id]
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id


def test_the_adapter_alone_opens_in_plain_peft(exported, random_mistral):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    _, folder = exported
    base = AutoModelForCausalLM.from_pretrained(random_mistral)
    assert (
        PeftModel.from_pretrained(base, folder, subfolder="adapter").peft_config["default"].r == 4
    )


def test_four_bits_are_four_bits(exported):
    from transformers import AutoModelForCausalLM

    _, folder = exported
    assert AutoModelForCausalLM.from_pretrained(folder / "bnb4").is_loaded_in_4bit


def test_ollama_gets_the_last_gguf_file(exported):
    _, folder = exported
    assert (folder / "Modelfile").read_text().startswith("FROM ./run-Q8_0.gguf\nTEMPLATE")


def test_the_card_tells_what_the_records_tell(exported):
    from huggingface_hub import ModelCard

    recipe, folder = exported
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "mit"
    assert card.data.language == ["en"]
    assert {"sft", "dpo", "merge", "lamps"} <= set(card.data.tags)
    assert card.data.base_model is None  # a folder here is no name on the hub
    text = card.text
    assert "Of lamps." in text
    assert "16 rows" in text
    assert "| merge |" in text
    assert "[" in text.split("## What it scores")[1].split("|---|")[1]  # intervals
    assert "safetensors: ids of 5/5 prompts" in text
    assert recipe["base"]["model"] not in text.split("## Make it again")[0]


def test_the_recipe_beside_the_card_is_the_recipe(exported, tmp_path):
    """But for where files lie on this machine, which is nobody's business."""
    recipe, folder = exported
    again = load(folder / "recipe.yaml")
    text = Path(write(tmp_path, recipe)).read_text()
    for place in (recipe["stages"][0]["sft"]["data"]["path"], recipe["base"]["model"]):
        text = text.replace(f"{Path(place).parent}/", "")
    (tmp_path / "there.yaml").write_text(text)
    wanted = load(tmp_path / "there.yaml")
    assert again.base == wanted.base
    assert again.seed == wanted.seed
    assert again.stages == wanted.stages


def test_no_file_that_leaves_tells_where_things_lie_on_this_machine(exported):
    recipe, folder = exported
    places = {str(folder.parents[2]), str(Path(recipe["base"]["model"]).parent), str(Path.home())}
    files = [each for each in folder.rglob("*") if each.is_file()]
    told = {
        str(file.relative_to(folder)): place
        for file in files
        for place in places
        if place.encode() in file.read_bytes()
    }
    assert told == {}


def test_an_export_that_was_changed_is_no_base(exported, tmp_path, capfd):
    _, folder = exported
    base = shutil.copytree(folder, tmp_path / "base")
    file = write(tmp_path, settings(tmp_path, base, ["sft"]))
    assert ends("plan", file) == 0
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert ends("plan", file) == 1
    assert "model.safetensors is not the file that was written" in capfd.readouterr().err


def test_a_second_run_keeps_the_export_and_another_license_writes_it_anew(exported, tmp_path):
    from finetune.chain.plan import make

    recipe, _ = exported
    steps = {step.stage.name: step.status for step in make(load(write(tmp_path, recipe))).steps}
    assert set(steps.values()) == {"keep"}
    changed = ["export.card.license=apache-2.0"]
    found = make(load(write(tmp_path, recipe), changed)).steps
    assert [step.stage.name for step in found if step.status == "run"] == ["export"]


def job(folder, ref, **more):
    out = folder / "export"
    out.mkdir(exist_ok=True)
    models = {"base": ref}
    return Job(name="export", out=out, seed=1, model=ref, models=models, **more)


def test_weights_that_were_written_wrong_are_found_out(random_mistral, tmp_path, monkeypatch):
    from safetensors.torch import load_file, save_file

    from finetune.export import artefacts
    from finetune.stages import export

    def spoiled(file, place):
        if file.suffix != ".safetensors":
            return
        weights = load_file(file)
        weights["model.norm.weight"][:16] = -3.0
        save_file(weights, place, metadata={"format": "pt"})

    monkeypatch.setattr(artefacts, "_link", spoiled)
    ref = ModelRef(base=Base(model=str(random_mistral)))
    with pytest.raises(FinetuneError, match="safetensors read back is another model"):
        export.run(Export(name="export", prompts=4), job(tmp_path, ref))


def test_what_a_base_cannot_be_written_as_is_told_before_any_training(tmp_path):
    from shapes import make_base

    from finetune.stages import export

    folder = make_base("llama", tmp_path / "base", rope_parameters={"rope_type": "default"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "olmo"}))
    stage = Export(name="export", formats=("gguf",))
    with pytest.raises(FinetuneError, match="GGUF is not written for the architecture 'olmo'"):
        export.check(stage, job(tmp_path, ModelRef(base=Base(model=str(folder)))))


@pytest.fixture
def online(monkeypatch):
    """The hub as a server on this machine, and a token that it knows."""
    from huggingface_hub import constants

    with hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


PUSH = Export(name="export", prompts=2, push="somebody/model", card=Card(license="mit"))


def test_an_upload_carries_every_file_and_never_the_token(online, random_mistral, tmp_path, capfd):
    from finetune.stages import export

    where = job(tmp_path, ModelRef(base=Base(model=str(random_mistral))))
    export.check(PUSH, where)
    facts = export.run(PUSH, where).facts
    assert facts["pushed"] == f"{online.url}/somebody/model"
    wanted = {"name": "model", "organization": "somebody", "visibility": "private"}
    assert online.repositories == [wanted]
    assert {"README.md", "recipe.yaml", "model.safetensors", "config.json"} <= set(online.files)
    assert online.files["model.safetensors"] == (random_mistral / "model.safetensors").read_bytes()
    written = [p for p in where.out.rglob("*") if p.is_file()]
    assert not [p for p in written if TOKEN.encode() in p.read_bytes()]
    said = capfd.readouterr()
    assert TOKEN not in said.out + said.err + json.dumps(facts)


def test_an_upload_that_fails_leaves_the_files_and_the_command(
    online, random_mistral, tmp_path, monkeypatch
):
    from finetune.stages import export

    where = job(tmp_path, ModelRef(base=Base(model=str(random_mistral))))
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(FinetuneError, match="The files are whole: hf upload somebody/model"):
        export.run(PUSH, where)
    assert (where.out / "export" / "README.md").is_file()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HF_TOKEN", "hf_wrong", "the hub does not let you in"),
        ("HF_HUB_OFFLINE", "1", "the hub is switched off"),
    ],
)
def test_what_forbids_an_upload_is_told_before_any_training(
    name, value, message, online, random_mistral, tmp_path, monkeypatch
):
    from finetune.stages import export

    monkeypatch.setenv(name, value)
    with pytest.raises(FinetuneError, match=message) as caught:
        export.check(PUSH, job(tmp_path, ModelRef(base=Base(model=str(random_mistral)))))
    assert "hf_wrong" not in str(caught.value)


def test_a_card_reads_as_yaml_and_names_what_is_on_the_hub():
    from finetune.export.card import card

    text = card(
        name="m",
        base=Base(model="mistralai/Mistral-7B-v0.3"),
        settings=Card(license="other", license_name="mine", license_link="https://example.org"),
        past=(),
        uses={},
        checks=(),
        recipe="name: m\n",
        is_adapter=True,
    )
    data = yaml.safe_load(text.split("---")[1])
    assert data["base_model"] == "mistralai/Mistral-7B-v0.3"
    assert data["library_name"] == "peft"
    assert (data["license"], data["license_name"]) == ("other", "mine")
