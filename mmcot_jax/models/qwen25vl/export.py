"""The files that describe a Qwen2.5-VL to transformers."""

from collections.abc import Mapping
from typing import Any

from mmcot_jax import hf, models
from mmcot_jax.hf_config import Files, is_own, to_json
from mmcot_jax.models.qwen25vl.backbone import Qwen25VL
from mmcot_jax.models.qwen25vl.config import hf_settings, processor_settings
from mmcot_jax.models.qwen25vl.render import MARKS, SYSTEM

# the release's, without videos
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}"
    "{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def describe(backbone: Qwen25VL, c: Mapping[str, Any]) -> Files:
    """Returns the files of a config's `model`: with the run's pixel bounds and system message."""
    r, v = backbone.renderer, backbone.vision
    settings = hf_settings(backbone.c, v, r.ids)
    ids = {"eos_token_id": r.ids["end"]}
    ids |= dict.fromkeys(("bos_token_id", "pad_token_id"), r.ids["end_of_text"])  # the release's
    bounds = {
        "min_pixels": r.min_pixels,
        "max_pixels": r.max_pixels,
        "size": {"shortest_edge": r.min_pixels, "longest_edge": r.max_pixels},
    }
    processor = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        **to_json(processor_settings(v)),
    }
    tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": MARKS["end"],
        "pad_token": MARKS["end_of_text"],
        "model_max_length": backbone.context,
    }
    file = hf.find_tokenizer(
        models.resolve(c["tokenizer"] or c["weights"], __file__, not c["tokenizer"]), ""
    )
    return Files(
        settings,
        file.read_text(encoding="utf-8"),
        defaults={
            "config.json": {
                "architectures": ["Qwen2_5_VLForConditionalGeneration"],
                "max_position_embeddings": backbone.context,
                "vision_config": {"out_hidden_size": backbone.c.width, "in_chans": 3},
                **ids,
            },
            "generation_config.json": ids | {"eos_token_id": list(r.eos_ids)},
            "tokenizer_config.json": tokenizer,
            "preprocessor_config.json": processor,
        },
        always={"preprocessor_config.json": bounds},
        readers=_readers(settings),
        chat_template=CHAT_TEMPLATE,
        replaced=(SYSTEM, r.system or SYSTEM),
    )


def _readers(settings) -> str:
    if is_own(settings):
        return "mmcot_jax reads it. transformers does not: its class lacks this model's qk-norm."
    return (
        "transformers (Qwen2_5_VLForConditionalGeneration with AutoProcessor), what builds on it, "
        "such as vLLM, and mmcot_jax read it."
    )
