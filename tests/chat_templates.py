"""Chat templates in known formats, their answers marked, and tokenizers of the kinds they meet.

The markers are for `return_assistant_tokens_mask` of transformers, the independent derivation;
without them a template is what our code sees.
"""

import re

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

TEXT = [
    "Noor asks Ivan whether the parcel came to the neighbour. The lamp is red, its price 12.50.",
    "user assistant system\n\nYou can call these tools: get_time(city)\n<|user|>\n<|assistant|>\n",
    "SELECT name FROM lamp\n  WHERE colour = 'red'\n\n  ORDER BY price DESC LIMIT 3;\n",
    "naïve café, Привет мир, 漢字かな, שלום עולם, مرحبا 🙂👩‍🚀",
]

PLAIN = """
{{- bos_token -}}
{%- for message in messages -%}
  {%- if message.role == 'assistant' -%}
    {%- generation -%}{{- message.content + eos_token -}}{%- endgeneration -%}
  {%- else -%}{{- message.content + '\\n' -}}{%- endif -%}
{%- endfor -%}
"""

MISTRAL = """
{{- bos_token -}}
{%- set system = messages[0].content + '\\n\\n' if messages[0].role == 'system' else '' -%}
{%- for message in (messages[1:] if messages[0].role == 'system' else messages) -%}
  {%- if message.role == 'assistant' -%}
    {%- generation -%}{{- message.content + eos_token -}}{%- endgeneration -%}
  {%- else -%}
    {{- '[INST]' + (system if loop.first else '') + message.content + '[/INST]' -}}
  {%- endif -%}
{%- endfor -%}
"""

# As Mistral's third version does: the system's text moves to the last question, tools too, and a
# call of tools takes the place of the answer's text.
MISTRAL_TOOLS = """
{{- bos_token -}}
{%- set system = messages[0].content + '\\n\\n' if messages[0].role == 'system' else '' -%}
{%- set turns = messages[1:] if messages[0].role == 'system' else messages -%}
{%- set asked = namespace(last=-1) -%}
{%- for message in turns -%}
  {%- if message.role == 'user' -%}{%- set asked.last = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- for message in turns -%}
  {%- if message.role == 'user' -%}
    {%- if tools and loop.index0 == asked.last -%}
      {{- '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' -}}
    {%- endif -%}
    {{- '[INST]' + (system if loop.index0 == asked.last else '') + message.content + '[/INST]' -}}
  {%- elif message.role == 'tool' -%}
    {{- '[TOOL_RESULTS]' + message.content + '[/TOOL_RESULTS]' -}}
  {%- elif message.tool_calls -%}
    {%- generation -%}
      {{- '[TOOL_CALLS]' + (message.tool_calls | tojson) + eos_token -}}
    {%- endgeneration -%}
  {%- else -%}
    {%- generation -%}{{- ' ' + message.content | trim + eos_token -}}{%- endgeneration -%}
  {%- endif -%}
{%- endfor -%}
"""

LLAMA3 = """
{{- bos_token -}}
{%- if tools -%}
  {{- '<|start_header_id|>system<|end_header_id|>\\n\\nTools: ' + (tools | tojson) -}}
  {{- '<|eot_id|>' -}}
{%- endif -%}
{%- for message in messages -%}
  {%- set role = 'ipython' if message.role == 'tool' else message.role -%}
  {{- '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' -}}
  {%- if message.role != 'assistant' -%}
    {{- message.content | trim + '<|eot_id|>' -}}
  {%- elif message.tool_calls -%}
    {%- generation -%}
      {{- '<|python_tag|>' + (message.tool_calls | tojson) + '<|eom_id|>' -}}
    {%- endgeneration -%}
  {%- else -%}
    {%- generation -%}{{- message.content | trim + '<|eot_id|>' -}}{%- endgeneration -%}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}
"""

# Qwen 2.5's form: a system turn of its own, calls in tags, results in turns of the user.
QWEN = """
{%- if messages[0].role != 'system' -%}
  {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
  {%- if message.role == 'tool' -%}
    {%- if messages[loop.index0 - 1].role != 'tool' -%}{{- '<|im_start|>user' -}}{%- endif -%}
    {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' -}}
    {%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}
      {{- '<|im_end|>\\n' -}}
    {%- endif -%}
  {%- elif message.role == 'assistant' -%}
    {{- '<|im_start|>assistant\\n' -}}
    {%- generation -%}
      {{- message.content or '' -}}
      {%- for call in message.tool_calls or [] -%}
        {{- '\\n<tool_call>\\n' + (call.function | tojson) + '\\n</tool_call>' -}}
      {%- endfor -%}
      {{- '<|im_end|>' -}}
    {%- endgeneration -%}
    {{- '\\n' -}}
  {%- else -%}
    {{- '<|im_start|>' + message.role + '\\n' + message.content -}}
    {%- if tools and loop.first -%}{{- '\\n# Tools\\n' + (tools | tojson) -}}{%- endif -%}
    {{- '<|im_end|>\\n' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

# Qwen 3's habit: reasoning stays in answers after the last question only.
QWEN_THINKS = """
{%- set asked = namespace(last=-1) -%}
{%- for message in messages -%}
  {%- if message.role == 'user' -%}{%- set asked.last = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
  {{- '<|im_start|>' + message.role + '\\n' -}}
  {%- if message.role == 'assistant' -%}
    {%- set parts = message.content.split('</think>') -%}
    {%- generation -%}
      {%- if loop.index0 > asked.last -%}
        {%- set thought = parts[0].split('<think>')[-1].strip('\\n') if parts | length > 1 -%}
        {{- '<think>\\n' + (thought or '') + '\\n</think>\\n\\n' -}}
      {%- endif -%}
      {{- parts[-1].lstrip('\\n') + '<|im_end|>' -}}
    {%- endgeneration -%}
  {%- else -%}{{- message.content + '<|im_end|>' -}}{%- endif -%}
  {{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

GEMMA = """
{{- bos_token -}}
{%- if messages[0].role == 'system' -%}{{- raise_exception('no system turns') -}}{%- endif -%}
{%- for message in messages -%}
  {%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}
    {{- raise_exception('turns of user and assistant must alternate') -}}
  {%- endif -%}
  {{- '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' -}}
  {%- if message.role == 'assistant' -%}
    {%- generation -%}{{- message.content | trim + '<end_of_turn>' -}}{%- endgeneration -%}
  {%- else -%}{{- message.content | trim + '<end_of_turn>' -}}{%- endif -%}
  {{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}
"""

# Phi 3 ends a conversation, though not the prompt of one, with a token of its own.
PHI = """
{%- for message in messages -%}
  {{- '<|' + message.role + '|>\\n' -}}
  {%- if message.role == 'assistant' -%}
    {%- generation -%}{{- message.content + '<|end|>' -}}{%- endgeneration -%}
  {%- else -%}{{- message.content + '<|end|>' -}}{%- endif -%}
  {{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- else -%}{{- eos_token -}}{%- endif -%}
"""

ZEPHYR = """
{%- for message in messages -%}
  {{- '<|' + message.role + '|>\\n' -}}
  {%- if message.role == 'assistant' -%}
    {%- generation -%}{{- message.content + eos_token -}}{%- endgeneration -%}
  {%- else -%}{{- message.content + eos_token -}}{%- endif -%}
  {{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}
"""

CHATML = """
{%- for message in messages -%}
  {{- '<|im_start|>' + message.role + '\\n' -}}
  {%- if message.role == 'assistant' -%}
    {%- generation -%}{{- message.content + '<|im_end|>' -}}{%- endgeneration -%}
  {%- else -%}{{- message.content + '<|im_end|>' -}}{%- endif -%}
  {{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


def unmarked(template):
    """A template as models have it."""
    return re.sub(r"\{%-? (end)?generation -?%\}", "", template)


def byte_level(special, start=None, end=None, trim=False, nfc=False):
    """As Llama 3 (spaces trimmed out of offsets), Qwen (NFC), GPT-2 and MPT have it."""
    made = Tokenizer(models.BPE())
    if nfc:
        made.normalizer = normalizers.NFC()
    words = r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    _train(made, special, initial_alphabet=alphabet)
    steps = [processors.ByteLevel(trim_offsets=trim)]
    if start:
        steps.append(_adds(made, start))
    made.post_processor = processors.Sequence(steps)
    return _fast(made, special, start, end)


def pieces(special, start=None, end=None, whole_text=False, strips=()):
    """As SentencePiece has it: words begin with a blank; unknown characters fall back to bytes.

    With `whole_text` merges cross blanks and line ends, as in Gemma; tokens in `strips` take in
    the blanks behind them, as in Phi 3.
    """
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if whole_text:
        made.normalizer = normalizers.Replace(" ", "▁")
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence(steps)
    tokens = [AddedToken(name, special=True, rstrip=name in strips) for name in special]
    _train(made, ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))], tokens=tokens)
    if start:
        made.post_processor = _adds(made, start)
    return _fast(made, special, start, end)


def _adds(made, start):
    return processors.TemplateProcessing(
        single=f"{start} $A", special_tokens=[(start, made.token_to_id(start))]
    )


def _train(made, special, tokens=(), **more):
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=list(special), show_progress=False, **more
    )
    made.train_from_iterator(TEXT * 9, trainer)
    made.add_special_tokens(list(tokens))


def _fast(made, special, start, end):
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=start,
        eos_token=end or special[0],
        pad_token=special[-1],
        clean_up_tokenization_spaces=False,
    )
