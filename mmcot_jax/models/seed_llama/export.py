"""The files that describe a SEED-LLaMA, or another LLaMA, to transformers."""

from collections.abc import Mapping
from typing import Any

from mmcot_jax.hf_config import Files, is_own
from mmcot_jax.models.seed_llama.backbone import SeedLlama
from mmcot_jax.models.seed_llama.config import hf_settings


def describe(backbone: SeedLlama, c: Mapping[str, Any]) -> Files:
    """Returns the files of a config's `model`: the tokenizer's ids of marks, and of images."""
    r = backbone.renderer
    settings = hf_settings(backbone.c)
    pad = r.tokenizer.token_to_id("<unk>")  # as the study
    ids = {"eos_token_id": list(r.eos_ids), "pad_token_id": r.eos_ids[0] if pad is None else pad}
    ids |= {"bos_token_id": r.begin_ids[0]} if r.begin_ids else {}
    marks = {
        name.removesuffix("_id"): r.tokenizer.id_to_token(id[0] if isinstance(id, list) else id)
        for name, id in ids.items()
    }
    # tokenizer.json has the ids of images, which tokenizer.model lacks
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", **marks}
    return Files(
        settings,
        r.tokenizer.to_str(pretty=True),
        defaults={
            "config.json": {
                "architectures": ["LlamaForCausalLM"],
                "max_position_embeddings": backbone.context,
            },
            "generation_config.json": {},
            "tokenizer_config.json": {"model_max_length": backbone.context},
        },
        # the release's are not its tokenizer's: bos 0, eos 1, pad -1
        always={
            "config.json": ids,
            "generation_config.json": ids,
            "tokenizer_config.json": tokenizer,
        },
        readers=_readers(settings, backbone.seed is not None),
    )


def _readers(settings, images: bool) -> str:
    if is_own(settings):
        return "mmcot_jax reads it. transformers does not: its class lacks this model's qk-norm."
    pictures = (
        " The image tokenizer, seed_tokenizer.safetensors, is read by mmcot_jax; its names are "
        "those of SEED's own class."
        if images
        else ""
    )
    return f"transformers (LlamaForCausalLM) and mmcot_jax read it.{pictures}"
