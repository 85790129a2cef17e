"""Fields that the libraries have and a recipe may not hold, each with the reason and the way out.

Every key of a recipe changes something or is refused: these would do nothing here, undo what the
chain guarantees, or belong to another place. Rows: classes, the reason, the fields.
"""

from __future__ import annotations

from functools import cache

BOTH = ("SFTConfig", "DPOConfig")
_BATCH = "rows per optimizer step, on any number of devices, are the stage's `batch_size`"
_LAUNCH = "hardware is not in a recipe: put it into the launch profile (`accelerate launch`)"
_EVALUATE = "scores come from an `evaluate` stage, not from within training"
_KEPT = "the chain keeps checkpoints and removes them when the stage is done; `save_steps` is yours"
_SAYS = "the chain shows progress itself and writes every logged number into history.jsonl"
_TOKENS = "rows reach the trainer as token ids with the learnt ones marked, so it would do nothing"
_MASK = "the stage's `mask` says what of a conversation is learnt"
_HUB = "uploading is no part of this chain"
_ORDER = "rows are laid out once for all epochs; `train_sampling_strategy` chooses their order"
_LOADING = "rows lie tokenised in memory in a fixed order; loading them takes no time"
UNREAD = "the code of this architecture's language model never reads it"

ROWS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (BOTH, "a run writes into the recipe's top-level `output_dir`", "output_dir"),
    (BOTH, "one `seed` at the top of the recipe serves all stages", "seed data_seed"),
    (
        BOTH,
        _BATCH,
        "per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps "
        "auto_find_batch_size precompute_ref_batch_size dataloader_drop_last",
    ),
    (BOTH, "averaging over devices keeps a recipe's meaning on any number of them",
     "average_tokens_across_devices"),
    (
        BOTH,
        "an interrupted run goes on by itself, in the very row it stopped at: run the recipe again",
        "resume_from_checkpoint ignore_data_skip restore_callback_states_from_checkpoint",
    ),
    (BOTH, "a stage trains: that is what its kind says", "do_train do_eval do_predict"),
    (
        BOTH,
        _HUB,
        "push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_always_push "
        "hub_revision",
    ),
    (
        BOTH,
        _LAUNCH,
        "deepspeed fsdp fsdp_config ddp_find_unused_parameters ddp_bucket_cap_mb "
        "ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout use_cpu local_rank "
        "accelerator_config parallelism_config log_on_each_node save_on_each_node",
    ),
    (
        BOTH,
        _EVALUATE,
        "eval_strategy eval_steps eval_delay eval_on_start eval_do_concat_batches "
        "eval_use_gather_object eval_accumulation_steps eval_packing prediction_loss_only "
        "include_for_metrics batch_eval_metrics bf16_full_eval fp16_full_eval "
        "load_best_model_at_end metric_for_best_model greater_is_better",
    ),
    (BOTH, _KEPT, "save_strategy save_total_limit save_only_model enable_jit_checkpoint"),
    (
        BOTH,
        _SAYS,
        "report_to run_name project trackio_space_id trackio_bucket_id trackio_static_space_id "
        "disable_tqdm logging_strategy log_level log_level_replica skip_memory_metrics debug "
        "include_num_input_tokens_seen",
    ),
    (
        BOTH,
        _LOADING,
        "dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers "
        "dataloader_prefetch_factor dataloader_multiprocessing_context dataloader_in_order",
    ),
    (BOTH, _ORDER, "shuffle_dataset length_column_name"),
    (
        BOTH,
        "the model is opened from `base`",
        "model_init_kwargs trust_remote_code",
    ),
    (
        BOTH,
        "the chat template is `base.chat_template`, and special tokens are the tokenizer's",
        "chat_template_path eos_token pad_token",
    ),
    (
        BOTH,
        _TOKENS,
        "dataset_text_field dataset_kwargs dataset_num_proc remove_unused_columns label_names",
    ),
    (("SFTConfig",), _MASK, "completion_only_loss assistant_only_loss"),
    (BOTH, "prompts too long for `max_length` lose their middle, not an end", "truncation_mode"),
    (
        BOTH,
        "`packing: true` fills rows best-fit-decreasing, each of them whole; there is no other way",
        "packing_strategy padding_free",
    ),
    (BOTH, "training keeps no cache", "use_cache"),
    (
        BOTH,
        "TRL 1.16 reads its older names, `gradient_checkpointing` and "
        "`gradient_checkpointing_kwargs`",
        "activation_checkpointing activation_checkpointing_kwargs",
    ),
    (
        ("DPOConfig",),
        "DPOTrainer does not read it; DPO's own is `label_smoothing`",
        "label_smoothing_factor",
    ),
    (
        ("DPOConfig",),
        "its noise would reach the reference too, which shares the model's embeddings",
        "neftune_noise_alpha",
    ),
    (
        ("LoraConfig", "peft"),
        "PEFT writes it, or the chain does; a recipe has nothing to choose there",
        "task_type peft_type inference_mode auto_mapping peft_version base_model_name_or_path "
        "revision runtime_config",
    ),
    (("LoraConfig",), "Megatron models are no part of this chain",
     "megatron_config megatron_core"),
    (("LoraConfig",), "Arrow routes between adapters that exist; it trains none", "arrow_config"),
    (("LoraConfig",), "KaSA cuts the base's weights for good, which later stages open as they were",
     "kasa_config"),
    (("LoraConfig",), "its loss has a second term, which TRL's trainers do not add",
     "monteclora_config"),
    (("LoraConfig",), "the bits are those of `base.quantization`, and PEFT takes one step of LoftQ "
     "on a quantised base", "loftq_config"),
    (("LoraConfig",), "it is for bases split over machines by tensor", "use_bdlora"),
    (("LoraConfig",), "such an adapter is at work from a token on, so it cannot be merged",
     "alora_invocation_tokens"),
    (("LoraConfig",), "QALoRA is for GPTQ bases and was not tried on any",
     "use_qalora qalora_group_size"),
    (("CordaConfig",), "the chain keeps what it needs; such files are pickles, which can run code",
     "cache_file covariance_file"),
    (("CordaConfig",), "the chain decides what to show and keep", "verbose prune_temporary_fields"),
    (("EvaConfig",), "the chain decides how unlearnt tokens are marked", "label_mask_value"),
    (("peft.adalora",), "the chain knows how many steps there are", "total_step"),
    (("peft.adalora",), "AdaLoRA does not read it; its ranks are `init_r` and `target_r`", "r"),
    (
        ("peft.adalora",),
        "it belongs to LoRA: AdaLoRA takes it from there and does nothing with it",
        "use_dora use_rslora arrow_config corda_config eva_config kasa_config loftq_config "
        "lora_ga_config monteclora_config velora_config use_bdlora alora_invocation_tokens "
        "use_qalora qalora_group_size layer_replication megatron_config megatron_core lora_bias "
        "alpha_pattern rank_pattern",
    ),
    (("LoraConfig",), "a model with repeated layers cannot be merged into its own config",
     "layer_replication"),
    (
        ("BitsAndBytesConfig",),
        "the base lies whole on each device: there is no offloading here",
        "llm_int8_enable_fp32_cpu_offload",
    ),
    (
        ("GenerationConfig",),
        "one answer a prompt is scored, and nothing but its text",
        "num_return_sequences output_attentions output_hidden_states output_scores output_logits "
        "return_dict_in_generate",
    ),
    (
        ("GenerationConfig",),
        "the tokenizer and the chat template set it",
        "pad_token_id bos_token_id eos_token_id forced_bos_token_id forced_eos_token_id "
        "decoder_start_token_id",
    ),
    (
        ("GenerationConfig",),
        "it changes speed and memory at most; the chain chooses",
        "use_cache cache_implementation cache_config max_cache_len compile_config "
        "disable_compile continuous_batching_config prefill_chunk_size low_memory",
    ),
    (
        ("GenerationConfig",),
        "there is no second model to write drafts",
        "is_assistant num_assistant_tokens num_assistant_tokens_schedule "
        "assistant_confidence_threshold prompt_lookup_num_tokens max_matching_ngram_size "
        "assistant_early_exit assistant_lookbehind target_lookbehind assistant_ensemble_weight "
        "speculation_type use_mtp",
    ),
    (
        ("GenerationConfig",),
        "it is for models with an encoder",
        "encoder_repetition_penalty encoder_no_repeat_ngram_size",
    ),
    (
        ("GenerationConfig",),
        "transformers 5 has moved it out of the library",
        "penalty_alpha dola_layers diversity_penalty num_beam_groups constraints force_words_ids",
    ),
    (
        ("GenerationConfig",),
        "prompts are cut and batched by tokens: write `max_new_tokens` and `min_new_tokens`",
        "max_length min_length max_time token_healing",
    ),
    (
        ("GenerationConfig",),
        "it needs the tokenizer beside the settings, or keys that YAML cannot write",
        "stop_strings sequence_bias watermarking_config",
    ),
    (
        ("config",),
        "the tokenizer says it: `base.tokenizer.vocab_size`",
        "vocab_size pad_token_id bos_token_id eos_token_id",
    ),
    (("config",), "training and writing decide about it", "use_cache init_device"),
    (("config.llama",), UNREAD, "pretraining_tp"),
    (("config.bloom",), "it only splits matrix products; the model stays the same",
     "pretraining_tp slow_but_exact"),
    (("config.gpt2", "config.gpt_neox"), "it is for models with an encoder, or for classifiers",
     "add_cross_attention is_decoder classifier_dropout summary_activation summary_first_dropout "
     "summary_proj_to_labels summary_type summary_use_proj"),
    (("config.mpt",), UNREAD,
     "emb_pdrop embedding_fraction expansion_ratio learned_pos_emb logit_scale no_bias norm_type "
     "resid_pdrop"),
    (("config.phi3",), UNREAD, "embd_pdrop"),
)  # fmt: skip

# What one kind of stage refuses beyond that.
OF_KIND: dict[tuple[str, str], str] = {
    ("pretrain", "packing"): "pretraining always fills blocks of `max_length` tokens",
    ("pretrain", "packing_strategy"): "pretraining always fills blocks of `max_length` tokens",
}

# Values that a field has and this chain cannot keep its word with.
VALUES: dict[tuple[str, str, str], str] = {
    ("peft.", "method", "lora"): "LoRA has a block of its own: `lora`",
    **{
        ("peft.", "method", name): f"{name} puts learnt tokens before a text, which no merge can"
        for name in ("prompt_tuning", "p_tuning", "prefix_tuning", "cpt", "cartridge")
    },
    **{
        ("peft.", "method", name): f"{name} cannot be folded into the base's weights"
        for name in ("lily", "shadow", "beft", "xlora", "poly", "adaption_prompt")
    },
    ("peft.", "method", "osf"): "osf changes the base's weights, which later stages open as they "
    "were",
    ("SFTConfig", "train_sampling_strategy", "batch_rebalance"): _ORDER,
    ("DPOConfig", "train_sampling_strategy", "batch_rebalance"): _ORDER,
}


@cache
def reasons(class_name: str) -> dict[str, str]:
    """Field -> why a recipe may not hold it."""
    group = class_name.partition(".")[0]  # what holds for `config` holds for every architecture
    return {
        name: reason
        for classes, reason, names in ROWS
        if group in classes or class_name in classes
        for name in names.split()
    }


def why_not(class_name: str, field: str, kind: str) -> str | None:
    """The reason against a field in a stage of this kind; None when it may stand there."""
    return OF_KIND.get((kind, field)) or reasons(class_name).get(field)


def why_not_value(class_name: str, field: str, value: object) -> str | None:
    """The reason against one value of a field; None when it may stand there."""
    return VALUES.get((class_name, field, str(value)))
