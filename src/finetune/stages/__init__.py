"""The stages of a chain, one file per kind; the table maps a kind to its module."""

# Each module has `run(stage, job) -> Result` and `check(stage, job) -> None`, which builds what
# can be built before any stage runs (library configs, some rows) and raises a FinetuneError.
MODULES = {
    "pretrain": "finetune.stages.pretrain",
    "sft": "finetune.stages.sft",
    "dpo": "finetune.stages.dpo",
    "evaluate": "finetune.stages.evaluate",
    "merge": "finetune.stages.merge",
    "export": "finetune.stages.export",
}
