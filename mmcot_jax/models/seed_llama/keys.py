"""SEED-LLaMA's key tables: which upstream tensors are which parameters. Host only, no jax.

Paths are those of our parameters: `decoder/...` (nn/decoder.py), `seed/...` (tokenizer.py). SEED's
names are those of its own class; on disk the ViT (`visual_encoder.`) is a file of its own, without
that prefix.
"""

from collections.abc import Collection
from fnmatch import filter

from mmcot_jax.keytable import Rule, Table, layer_rules, parse_path, weight_and_bias
from mmcot_jax.models.seed_llama.config import SeedConfig
from mmcot_jax.nn.decoder_keys import HEAD, QK_NORMS, decoder_rules

VIT_PREFIX = "visual_encoder."


def llama_table(tied: bool = False, qk_norm: bool = False) -> Table:
    """Returns `LlamaForCausalLM`'s names: q and k rotate halves.

    With `qk_norm` also those of that norm, which our small models have and the released ones lack.
    """
    norms = layer_rules("decoder/layers", "model.layers", {}, QK_NORMS) if qk_norm else []
    # some files of a tied model hold its head a second time
    ignorable = ("*.rotary_emb.inv_freq", *([HEAD] if tied else []))
    return Table((*decoder_rules(tied=tied), *norms), ignorable)


def gguf_table(heads: int, kv_heads: int, tied: bool) -> Table:
    """Returns the names of llama.cpp's GGUF files: q and k rotate neighbours.

    Source: github.com/ggml-org/ggml, docs/gguf.md, "Standardized tensor names".
    """
    linear = {
        "attention/v": "attn_v",
        "attention/o": "attn_output",
        "mlp/gate": "ffn_gate",
        "mlp/up": "ffn_up",
        "mlp/down": "ffn_down",
    }
    norms = {"attention_norm/scale": "attn_norm.weight", "mlp_norm/scale": "ffn_norm.weight"}
    rotary = (
        Rule(
            f"blk.{{layer}}.attn_{x}.weight",
            parse_path(f"decoder/layers/attention/{x}/kernel"),
            "rotary_linear",
            count,
        )
        for x, count in (("q", heads), ("k", kv_heads))
    )
    rules = (
        Rule("token_embd.weight", parse_path("decoder/embed/embedding")),
        *rotary,
        *layer_rules("decoder/layers", "blk", linear, norms),
        Rule("output_norm.weight", parse_path("decoder/norm/scale")),
        *([] if tied else [Rule("output.weight", parse_path("decoder/head/kernel"), "linear")]),
    )
    return Table(rules, ("rope_freqs.weight",))


# --- the image tokenizer ----------------------------------------------------------------------


def seed_table(c: SeedConfig) -> Table:
    """Returns `Blip2QformerQuantizer`'s names, the ViT's with their prefix.

    Ignorable: the branch that reconstructs the encoder's features (`blocks`, `pos_embed`), which
    only its training used; the buffer of BERT's positions; and a 40th block of EVA's.
    """
    rules = (
        *_vit(c),
        *_norm("ln_vision", "vision_norm"),
        Rule("query_tokens", _seed("queries")),
        *_qformer(c),
        *_linear("encode_task_layer.0", "encode_0"),
        *_linear("encode_task_layer.2", "encode_1"),
        Rule("quantize.embedding.weight", _seed("codebook")),
        *_linear("decode_task_layer.0", "decode_0"),
        *_linear("decode_task_layer.2", "decode_1"),
        Rule("pos_embed_image", _seed("image_positions")),
        *_blocks("blocks_image.{layer}.", "image_blocks/layers"),
        Rule("blocks_image.{layer}.attn.qkv.bias", _seed("image_blocks/layers/attention/qkv/bias")),
        *(
            Rule(f"image_down.{2 * i}.weight", _seed(f"down_{i}/kernel"), "linear")
            for i in range(len(c.down))
        ),
        *_linear("distill_image_proj", "embed_image"),
    )
    beyond = f"{VIT_PREFIX}blocks.{c.vit_layers}.*"
    return Table(rules, ("blocks.*", "pos_embed", "*.position_ids", beyond))


# the modules of `seed_table`
_MODULES = (
    "query_tokens", "pos_embed_image", "ln_vision.", "encode_task_layer.", "decode_task_layer.",
    "quantize.", "blocks_image.", "image_down.", "distill_image_proj.",
    "Qformer.bert.embeddings.LayerNorm.", "Qformer.bert.encoder.layer.",
    *(VIT_PREFIX + part for part in ("cls_token", "pos_embed", "patch_embed.", "blocks.")),
)  # fmt: skip
# BERT's feed-forward for text; the queries have one of their own
_TEXT = (
    "Qformer.bert.encoder.layer.*.intermediate.*",
    "Qformer.bert.encoder.layer.*[0-9].output.*",
)


def used(names: Collection[str]) -> set[str]:
    """Returns those names of the released files that belong to a module of `seed_table`.

    seed_quantizer.pt also holds BLIP-2's text branch and parts of SEED's training (146 names),
    eva_vit_g.pth what EVA was trained with: the released code drops them, and so do we.
    """
    text = {name for pattern in _TEXT for name in filter(names, pattern)}
    return {name for name in names if name.startswith(_MODULES)} - text


def _vit(c: SeedConfig) -> tuple[Rule, ...]:
    layers = f"{VIT_PREFIX}blocks.{{layer}}."
    return (
        Rule(f"{VIT_PREFIX}cls_token", _seed("vit/class_token")),
        Rule(f"{VIT_PREFIX}pos_embed", _seed("vit/positions")),
        Rule(f"{VIT_PREFIX}patch_embed.proj.weight", _seed("vit/patch_kernel"), "conv"),
        Rule(f"{VIT_PREFIX}patch_embed.proj.bias", _seed("vit/patch_bias")),
        *_blocks(layers, "vit/blocks/layers"),
        Rule(f"{layers}attn.q_bias", _seed("vit/blocks/layers/attention/q_bias")),
        Rule(f"{layers}attn.v_bias", _seed("vit/blocks/layers/attention/v_bias")),
    )


def _blocks(layers: str, path: str) -> tuple[Rule, ...]:
    """Returns a ViT's blocks, without the biases of queries, keys and values."""
    return (
        *_norm(f"{layers}norm1", f"{path}/attention_norm"),
        Rule(f"{layers}attn.qkv.weight", _seed(f"{path}/attention/qkv/kernel"), "linear"),
        *_linear(f"{layers}attn.proj", f"{path}/attention/out"),
        *_norm(f"{layers}norm2", f"{path}/mlp_norm"),
        *_linear(f"{layers}mlp.fc1", f"{path}/fc1"),
        *_linear(f"{layers}mlp.fc2", f"{path}/fc2"),
    )


def _qformer(c: SeedConfig) -> list[Rule]:
    rules = _norm("Qformer.bert.embeddings.LayerNorm", "qformer/norm")
    for layer in range(c.layers):
        name, path = f"Qformer.bert.encoder.layer.{layer}.", f"qformer/layer_{layer}"
        kinds = [("attention", "self")] + [("crossattention", "cross")] * c.crosses(layer)
        for theirs, ours in kinds:
            for part, letter in (("query", "q"), ("key", "k"), ("value", "v")):
                rules += _linear(f"{name}{theirs}.self.{part}", f"{path}/{ours}/{letter}")
            rules += _linear(f"{name}{theirs}.output.dense", f"{path}/{ours}/out")
            rules += _norm(f"{name}{theirs}.output.LayerNorm", f"{path}/{ours}/norm")
        rules += _linear(f"{name}intermediate_query.dense", f"{path}/up")
        rules += _linear(f"{name}output_query.dense", f"{path}/down")
        rules += _norm(f"{name}output_query.LayerNorm", f"{path}/norm")
    return rules


def _linear(name: str, path: str) -> list[Rule]:
    return weight_and_bias(name, f"seed/{path}", "kernel", "linear")


def _norm(name: str, path: str) -> list[Rule]:
    return weight_and_bias(name, f"seed/{path}", "scale", "same")


def _seed(path: str) -> tuple[str, ...]:
    return parse_path(f"seed/{path}")
