"""SEED-LLaMA-8B: words and images in one LLaMA; with `seed` None, any LLaMA on text alone.

A LLaMA of its own folder would repeat the decoder's half of this one line for line; so SmolLM2,
which has real weights in a package, is read here.
"""

from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh
from jaxtyping import PyTree
from tokenizers import Tokenizer

from mmcot_jax import hf, models
from mmcot_jax.models.clip import config as clip_config
from mmcot_jax.models.clip import weights as clip_weights
from mmcot_jax.models.clip.config import ClipConfig
from mmcot_jax.models.clip.preprocess import Words, check_processor, read_words
from mmcot_jax.models.seed_llama import gguf, spm, weights
from mmcot_jax.models.seed_llama.backbone import SeedLlama
from mmcot_jax.models.seed_llama.config import SeedConfig, hf_settings
from mmcot_jax.models.seed_llama.export import describe as describe
from mmcot_jax.models.seed_llama.render import END, SeedRenderer, with_pictures
from mmcot_jax.models.unclip import config as unclip_config
from mmcot_jax.models.unclip import weights as unclip_weights
from mmcot_jax.models.unclip.config import UnclipConfig
from mmcot_jax.nn.decoder_only import decoder_config
from mmcot_jax.types import Variables

TOKENIZERS = ("tokenizer.json", "tokenizer.model")
"""Names of the tokenizer's file in a folder of weights."""


def build(c: Mapping[str, Any], *, learn: str = "chain", eos: bool = True) -> SeedLlama:
    """Returns the backbone of a config's `model`, without weights.

    `c` has `weights`, `tokenizer` ("": with the weights), `seed` (sizes of the image tokenizer
    that differ from SEED-2's, or None), `seed_weights` ("": with the weights), `preprocess`,
    `decoder`, `lora`, `context` and `draws`; to paint, `unclip` and `unclip_weights`, to compare
    what is painted, `clip` and `clip_weights`: each pair sizes and a folder, "" for none.

    Raises:
        ValueError: no tokenizer, a vocabulary too small for it, a way of learning that this
            backbone does not have, or weights whose config.json describes another model.
    """
    if learn != "chain" or not eos:
        raise ValueError(
            f"sft.learn is {learn!r} and sft.eos {eos}; seed_llama learns the chain and its end: "
            "set sft.learn=chain and sft.eos=true"
        )
    seed = None if c["seed"] is None else SeedConfig(**c["seed"]).check()
    tokenizer = _tokenizer(c)
    if seed:
        tokenizer = with_pictures(tokenizer, seed.codes)
        pictures = (seed.codes, seed.queries, seed.resolution, c["preprocess"])
    renderer = SeedRenderer(tokenizer, *(pictures if seed else ()))
    if not renderer.eos_ids:
        raise ValueError(
            f"model.tokenizer: the tokenizer has none of {', '.join(END)}, which end a reply; "
            "give one that has"
        )
    decoder = decoder_config(c)
    if decoder.vocab < tokenizer.get_vocab_size():
        raise ValueError(
            f"model.decoder.vocab is {decoder.vocab}; the tokenizer has "
            f"{tokenizer.get_vocab_size()} ids, those of images included"
        )
    file = gguf.find(c["weights"])
    original = (lambda _: gguf.read(file).config_json()) if file else None
    source = str(file or c["weights"])
    models.check_config_json(source, hf_settings(decoder), __file__, original=original)
    return SeedLlama(decoder, seed, renderer, c["context"], c["draws"], *_painters(c, seed))


def _painters(
    c: Mapping[str, Any], seed: SeedConfig | None
) -> tuple[UnclipConfig | None, ClipConfig | None, Words | None]:
    """Returns unCLIP and CLIP, those whose weights are named."""
    unclip = clip = words = None
    if c.get("unclip_weights"):
        unclip = unclip_config.from_dict(c["unclip"])
        if not seed or unclip.embedding != seed.embedding:
            made = seed.embedding if seed else "none"
            raise ValueError(
                f"model.unclip paints embeddings of {unclip.embedding}, and model.seed makes "
                f"{made}; give matching ones"
            )
        source = models.resolve(c["unclip_weights"], __file__)
        if source.is_dir():  # without it `load` reports it
            unclip_config.check_folder(unclip, source)
    if c.get("clip_weights"):
        if not unclip:
            raise ValueError(
                "model.clip_weights is given without model.unclip_weights: CLIP embeds painted "
                "pictures; give both"
            )
        clip = clip_config.from_dict(c["clip"])
        folder = models.resolve(c["clip_weights"], __file__)
        if folder.is_file():
            raise ValueError(
                f"model.clip_weights is the file {folder}; give the folder of a CLIP, with its "
                "tokenizer"
            )
        if folder.is_dir():  # without one `load` reports it; a plan needs no weights
            clip_config.check_folder(clip, folder)
            check_processor(clip.size, folder)
            words = read_words(folder, clip.positions)
            words.check(clip.vocab, clip_config.read_eos(folder), folder)
    return unclip, clip, words


def _tokenizer(c: Mapping[str, Any]) -> Tokenizer:
    """Reads the tokenizer; SEED's release has it with the image tokenizer."""
    name = c["tokenizer"] or c["weights"]
    if file := gguf.find(name):
        return gguf.read(file).tokenizer()
    places = [models.resolve(name, __file__, weights=not c["tokenizer"])]
    if not c["tokenizer"] and c["seed_weights"]:
        places.append(models.resolve(c["seed_weights"], __file__))
    there = [place / name for place in places for name in TOKENIZERS if (place / name).is_file()]
    path = there[0] if there else places[0]
    if path.suffix == ".model" and path.is_file():
        return spm.read(path)
    return hf.read_tokenizer(path, "give Llama 2's tokenizer.json or tokenizer.model")


def load(backbone: SeedLlama, c: Mapping[str, Any], key: jax.Array, mesh: Mesh) -> Variables:
    """Returns the weights of `c.weights`, or random ones, on their shards.

    `c.seed_weights` is an image tokenizer stored elsewhere; `c.adapter` is an adapter to start
    from.

    Raises:
        ValueError: files that are missing or do not fit, all faults listed.
    """

    def read(shapes: PyTree) -> dict[str, PyTree]:
        params, pictures = {}, c["seed_weights"] or c["weights"]
        if c["weights"]:
            source = gguf.find(c["weights"]) or models.resolve(c["weights"], __file__)
            params["decoder"] = weights.load_decoder(backbone, source, shapes["decoder"])
        if backbone.seed and pictures:
            source = models.resolve(pictures, __file__)
            params["seed"] = weights.load_seed(backbone.seed, source, shapes["seed"])
        if backbone.unclip:
            source = models.resolve(c["unclip_weights"], __file__)
            params["unclip"] = unclip_weights.load(backbone.unclip, source, shapes["unclip"])
        if backbone.clip:
            source = models.resolve(c["clip_weights"], __file__)
            params["clip"] = clip_weights.load(backbone.clip, source, shapes["clip"])
        return params

    table = weights.table(backbone)
    return models.load_variables(backbone, c, key, mesh, table=table, read=read)


def picture_identity(c: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the image ids of a config's `model` depend on: SEED's tokenizer and sizes."""
    return {"weights": c["seed_weights"] or c["weights"], "seed": dict(c["seed"] or {})}
