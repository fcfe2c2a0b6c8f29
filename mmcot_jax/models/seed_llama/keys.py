"""The sizes of SEED's picture tokenizer, and where weights go: key tables. Host only, no jax.

Paths are those of our parameters: `decoder/...` (nn/decoder.py), `seed/...` (tokenizer.py). SEED's
names are those of its own class; on disk the ViT (`visual_encoder.`) is a file of its own, without
that prefix.
"""

from collections.abc import Collection
from fnmatch import filter
from typing import NamedTuple

from mmcot_jax.keytable import Rule, Table

VIT_PREFIX = "visual_encoder."


class SeedConfig(NamedTuple):
    """A picture tokenizer; the defaults are SEED-2's, the one of SEED-LLaMA.

    Source: arXiv 2310.01218 section 3; the sizes are EVA-ViT-g's and BERT-base's.
    """

    resolution: int = 224
    """Side of a picture, in pixels."""
    patch: int = 14
    vit_width: int = 1408
    vit_layers: int = 39
    vit_heads: int = 16
    vit_mlp: int = 6144
    queries: int = 32
    """Codes of a picture."""
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp: int = 3072
    codes: int = 8192
    code_width: int = 32
    image_layers: int = 4
    """Blocks between the codes and the embedding."""
    image_heads: int = 12
    down: tuple[int, ...] = (256, 128, 32)
    """Widths that a query shrinks through on its way into the embedding."""
    embedding: int = 1024
    """Channels of the embedding, the condition of the diffusion that paints."""
    dtype: str = "float32"
    """Of the ViT's activations; all that follows is float32."""
    param_dtype: str = "float32"
    """Of the ViT's weights."""

    def check(self) -> "SeedConfig":
        """Itself.

        Raises:
            ValueError: a patch that does not divide the picture, or heads that do not divide a
                width.
        """
        pairs = (
            ("patch", "resolution"), ("vit_heads", "vit_width"), ("heads", "width"),
            ("image_heads", "width"),
        )  # fmt: skip
        for part, whole in pairs:
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(
                    f"model.seed.{part} {getattr(self, part)} does not divide {whole} "
                    f"{getattr(self, whole)}; choose a divisor of it"
                )
        return self

    def crosses(self, layer: int) -> bool:
        """Whether a Q-Former layer looks at the picture: every second does, from the first."""
        return layer % 2 == 0


def llama_table(tied: bool = False, qk_norm: bool = False) -> Table:
    """`LlamaForCausalLM`'s names: q and k rotate halves.

    With `qk_norm` also that norm, which small models of ours have and the released ones lack.
    """
    linear = {
        "attention/q": "self_attn.q_proj",
        "attention/k": "self_attn.k_proj",
        "attention/v": "self_attn.v_proj",
        "attention/o": "self_attn.o_proj",
        "mlp/gate": "mlp.gate_proj",
        "mlp/up": "mlp.up_proj",
        "mlp/down": "mlp.down_proj",
    }
    norms = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    names = ("model.embed_tokens", "model.norm", "lm_head")
    table = _decoder(names, "model.layers.{layer}.", linear, norms, tied)
    more = tuple(
        Rule(f"model.layers.{{layer}}.self_attn.{norm}.{name}", _layer(f"attention/{norm}/{own}"))
        for norm in ("q_norm", "k_norm")
        for name, own in (("weight", "scale"), ("bias", "bias"))
    )
    return table._replace(rules=table.rules + more) if qk_norm else table


def gguf_table(heads: int, kv_heads: int, tied: bool) -> Table:
    """The names of llama.cpp's GGUF files: q and k rotate neighbours.

    Source: github.com/ggml-org/ggml, docs/gguf.md, "Standardized tensor names".
    """
    linear = {
        "attention/q": "attn_q",
        "attention/k": "attn_k",
        "attention/v": "attn_v",
        "attention/o": "attn_output",
        "mlp/gate": "ffn_gate",
        "mlp/up": "ffn_up",
        "mlp/down": "ffn_down",
    }
    norms = {"attention_norm": "attn_norm", "mlp_norm": "ffn_norm"}
    names = ("token_embd", "output_norm", "output")
    table = _decoder(names, "blk.{layer}.", linear, norms, tied)
    rotary = {_layer("attention/q/kernel"): heads, _layer("attention/k/kernel"): kv_heads}
    rules = (
        rule._replace(transform="rotary_linear", heads=rotary[rule.path])
        if rule.path in rotary
        else rule
        for rule in table.rules
    )
    return Table(tuple(rules), ("rope_freqs.weight",))


def _decoder(names, layers: str, linear: dict, norms: dict, tied: bool) -> Table:
    embed, norm, head = names
    rules = (
        Rule(f"{embed}.weight", ("decoder", "embed", "embedding")),
        *(Rule(f"{layers}{n}.weight", _layer(f"{p}/kernel"), "linear") for p, n in linear.items()),
        *(Rule(f"{layers}{n}.weight", _layer(f"{p}/scale")) for p, n in norms.items()),
        Rule(f"{norm}.weight", ("decoder", "norm", "scale")),
        *([] if tied else [Rule(f"{head}.weight", ("decoder", "head", "kernel"), "linear")]),
    )
    # some files of a tied model hold its head a second time
    return Table(rules, ("*.rotary_emb.inv_freq", *([f"{head}.weight"] if tied else [])))


def _layer(path: str) -> tuple[str, ...]:
    return ("decoder", "layers", *path.split("/"))


# --- the picture tokenizer --------------------------------------------------------------------


def seed_table(c: SeedConfig) -> Table:
    """`Blip2QformerQuantizer`'s names, the ViT's with their prefix.

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
    """Those of the released files that belong to a module of `seed_table`.

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
    """Without the biases of queries, keys and values."""
    return (
        *_norm(f"{layers}norm1", f"{path}/attention_norm"),
        Rule(f"{layers}attn.qkv.weight", _seed(f"{path}/attention/qkv/kernel"), "linear"),
        *_linear(f"{layers}attn.proj", f"{path}/attention/out"),
        *_norm(f"{layers}norm2", f"{path}/mlp_norm"),
        *_linear(f"{layers}mlp.fc1", f"{path}/fc1"),
        *_linear(f"{layers}mlp.fc2", f"{path}/fc2"),
    )


def _qformer(c: SeedConfig) -> tuple[Rule, ...]:
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


def _linear(name: str, path: str) -> tuple[Rule, ...]:
    weight = Rule(f"{name}.weight", _seed(f"{path}/kernel"), "linear")
    return (weight, Rule(f"{name}.bias", _seed(f"{path}/bias")))


def _norm(name: str, path: str) -> tuple[Rule, ...]:
    scale = Rule(f"{name}.weight", _seed(f"{path}/scale"))
    return (scale, Rule(f"{name}.bias", _seed(f"{path}/bias")))


def _seed(path: str) -> tuple[str, ...]:
    return ("seed", *path.split("/"))
