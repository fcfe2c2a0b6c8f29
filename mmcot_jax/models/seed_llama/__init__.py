"""SEED-LLaMA-8B: words and pictures in one LLaMA; with `seed` None, any LLaMA on text alone.

A LLaMA of its own folder would repeat the decoder's half of this one line for line; so SmolLM2,
which has real weights in a package, is read here.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from mmcot_jax import mesh as meshes
from mmcot_jax.models.seed_llama import gguf, weights
from mmcot_jax.models.seed_llama.backbone import SeedLlama
from mmcot_jax.models.seed_llama.keys import SeedConfig
from mmcot_jax.models.seed_llama.render import SeedRenderer, read_tokenizer, with_pictures
from mmcot_jax.nn.decoder import DecoderConfig
from mmcot_jax.nn.linear import Lora
from mmcot_jax.types import Variables

PACKAGED = pathlib.Path(__file__).parent
"""`packaged:NAME` in a config is a file beside this one: what `tiny` needs."""


def build(c: Mapping[str, Any], *, learn: str = "chain", eos: bool = True) -> SeedLlama:
    """A config's `model` -> the backbone, without weights.

    `c` has `weights`, `tokenizer` ("": with the weights), `seed` (sizes of the picture tokenizer
    that differ from SEED-2's, or None), `seed_weights` ("": with the weights), `preprocess`,
    `decoder`, `lora`, `context` and `draws`.

    Raises:
        ValueError: no tokenizer, a vocabulary that does not hold it, or a way of learning that
            this backbone does not have.
    """
    if learn != "chain" or not eos:
        raise ValueError(
            f"sft.learn is {learn!r} and sft.eos {eos}; seed_llama learns the chain and its end"
        )
    seed = None if c["seed"] is None else SeedConfig(**c["seed"]).check()
    tokenizer = _tokenizer(c["tokenizer"] or c["weights"])
    if seed:
        tokenizer = with_pictures(tokenizer, seed.codes)
        pictures = (seed.codes, seed.queries, seed.resolution, c["preprocess"])
    renderer = SeedRenderer(tokenizer, *(pictures if seed else ()))
    lora = Lora(**c["lora"]) if c["lora"]["rank"] else None
    decoder = DecoderConfig(**c["decoder"], lora=lora)
    if decoder.vocab < tokenizer.get_vocab_size():
        raise ValueError(
            f"model.decoder.vocab is {decoder.vocab}; the tokenizer has "
            f"{tokenizer.get_vocab_size()} ids, those of pictures included"
        )
    return SeedLlama(decoder, seed, renderer, c["context"], c["draws"])


def _tokenizer(name: str):
    file = gguf.find(name)
    return gguf.GGUF(file).tokenizer() if file else read_tokenizer(_path(name))


def load(backbone: SeedLlama, c: Mapping[str, Any], key: jax.Array, mesh: Mesh) -> Variables:
    """Weights on their shards: from `c.weights`, or random where that is empty.

    The adapters are always new. `c.seed_weights` names the picture tokenizer's own place.

    Raises:
        ValueError: files that are not there or do not fit, all faults listed.
    """
    like = meshes.shapes(jax.eval_shape(backbone.init, key), mesh)
    shardings = jax.tree.map(lambda x: x.sharding, like)
    params = {}
    if c["weights"]:
        source = c["weights"]
        source = source if gguf.find(source) else str(_path(source))
        params["decoder"] = weights.load_decoder(backbone, source, like["params"]["decoder"])
    pictures = c["seed_weights"] or c["weights"]
    if backbone.seed and pictures:
        place = like["params"]["seed"]
        params["seed"] = weights.load_seed(backbone.seed, _path(pictures), place)
    rest = {name: x for name, x in shardings["params"].items() if name not in params}
    wanted = {name: x for name, x in shardings.items() if name != "params"} | {"params": rest}

    def fresh(key):
        made = backbone.init(key)
        return made | {"params": {name: made["params"][name] for name in rest}}

    made = jax.jit(fresh, out_shardings=wanted)(key)
    return made | {"params": made["params"] | params}


def _path(name: str) -> pathlib.Path:
    head, _, tail = name.partition("packaged:")
    return pathlib.Path(name) if head or not tail else PACKAGED / tail
