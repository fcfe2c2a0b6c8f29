"""The files that describe a Chameleon to transformers."""

import json
from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer

from mmcot_jax import hf, models
from mmcot_jax.hf_config import Files, is_own
from mmcot_jax.models.chameleon.backbone import Chameleon
from mmcot_jax.models.chameleon.config import EOS, hf_settings
from mmcot_jax.models.chameleon.render import TOKENIZERS

IMAGE, RESERVED = "<image>", "<reserved08707>"
"""The placeholder of an image, and the original release's token that transformers renamed to it."""
SEPARATOR = "<reserved08706>"
"""The token that transformers ends a prompt with."""
SCALES = {"native": 2 / 255, "hf": 0.0078}
"""A variant of the preprocessing -> the factor of x * factor - 1."""


def describe(backbone: Chameleon, c: Mapping[str, Any]) -> Files:
    """Returns the files of a config's `model`: with the tokenizer's ids and the VQGAN's size."""
    r = backbone.renderer
    file = hf.find_tokenizer(
        models.resolve(c["tokenizer"] or c["weights"], __file__, not c["tokenizer"]), "", TOKENIZERS
    )
    text = with_placeholder(file.read_text(encoding="utf-8"))
    vocab = Tokenizer.from_str(text).get_vocab()
    settings = hf_settings(backbone.c, backbone.vqgan)
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": EOS}
    names = {id: token for token, id in vocab.items()}
    tokenizer = {name.removesuffix("_id"): names[id] for name, id in ids.items()}
    if SEPARATOR in vocab:
        tokenizer["sep_token"] = SEPARATOR
    size = backbone.vqgan.resolution
    return Files(
        settings,
        text,
        defaults={
            "config.json": {
                "architectures": ["ChameleonForConditionalGeneration"],
                "max_position_embeddings": backbone.context,
                "vocabulary_map": vocab,
                **ids,
            },
            "generation_config.json": ids,
            "tokenizer_config.json": tokenizer
            | {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "processor_class": "ChameleonProcessor",
                "image_token": IMAGE,
                "boi_token": names[r.boi],
                "eoi_token": names[r.eoi],
                "model_max_length": backbone.context,
            },
            "preprocessor_config.json": {
                "image_processor_type": "ChameleonImageProcessor",
                "processor_class": "ChameleonProcessor",
                "image_mean": [1.0, 1.0, 1.0],
                "image_std": [1.0, 1.0, 1.0],
                "resample": 1,  # Lanczos
            },
            "processor_config.json": {
                "processor_class": "ChameleonProcessor",
                "image_seq_length": r.image_len,
                "image_token": IMAGE,
            },
        },
        always={
            "preprocessor_config.json": {
                "size": {"shortest_edge": size},
                "crop_size": {"height": size, "width": size},
                "rescale_factor": SCALES[r.variant],
            }
        },
        readers=_readers(settings),
    )


def with_placeholder(text: str) -> str:
    """Returns a tokenizer.json's text, its placeholder of images named as transformers names it."""
    made = json.loads(text)
    vocab = made["model"]["vocab"]
    if not isinstance(vocab, dict) or IMAGE in vocab or RESERVED not in vocab:
        return text
    vocab[IMAGE] = vocab.pop(RESERVED)
    for token in made["added_tokens"]:
        if token["content"] == RESERVED:
            token["content"] = IMAGE
    return json.dumps(made, ensure_ascii=False, indent=2)


def _readers(settings) -> str:
    if is_own(settings):
        return "mmcot_jax reads it. transformers does not: its VQGAN has norms of 32 groups only."
    return (
        "transformers (ChameleonForConditionalGeneration) reads its words and the images that it "
        "is given; it has no decoder for images. mmcot_jax reads all of it, and draws with "
        "vqgan.safetensors."
    )
