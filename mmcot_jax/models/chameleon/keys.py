"""Chameleon's key tables: the Hugging Face names and the original release's. Host only, no jax.

Paths are those of our parameters: `decoder/...` (nn/decoder.py) and `vqgan/...` (vqgan.py). In both
tables the VQGAN stands under `model.vqmodel.`, as Hugging Face has it; the original keeps it in a
file of its own (vqgan.ckpt), under the same names without that prefix.
"""

from mmcot_jax.keytable import Rule, Table
from mmcot_jax.models.chameleon.vqgan_keys import VQGANConfig, upstream_keys

VQGAN_PREFIX = "model.vqmodel."
PAINTER = "decoder"
"""The part of the VQGAN that Hugging Face's port leaves out, because it never draws."""

# the rotation's table, and the losses a VQGAN is trained with, are no weights of the model
_IGNORABLE = ("rope.freqs", "*.rotary_emb.inv_freq", "loss.*", f"{VQGAN_PREFIX}loss.*")


def hf_table(vqgan: VQGANConfig, paint: bool) -> Table:
    """`ChameleonForConditionalGeneration`: q and k rotate halves, a qk-norm for each head.

    With `paint` also the VQGAN's decoder, which Hugging Face's files lack.
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
    same = {
        "attention/q_norm/scale": "self_attn.q_norm.weight",
        "attention/q_norm/bias": "self_attn.q_norm.bias",
        "attention/k_norm/scale": "self_attn.k_norm.weight",
        "attention/k_norm/bias": "self_attn.k_norm.bias",
        "attention_norm/scale": "input_layernorm.weight",
        "mlp_norm/scale": "post_attention_layernorm.weight",
    }
    layers = "model.layers.{layer}."
    rules = (
        Rule("model.embed_tokens.weight", _path("embed/embedding")),
        *(Rule(f"{layers}{n}.weight", _layer(f"{p}/kernel"), "linear") for p, n in linear.items()),
        *(Rule(layers + n, _layer(p)) for p, n in same.items()),
        Rule("model.norm.weight", _path("norm/scale")),
        Rule("lm_head.weight", _path("head/kernel"), "linear"),
    )
    return Table((*rules, *_vqgan(vqgan, VQGAN_PREFIX, paint)), _IGNORABLE)


def original_table(vqgan: VQGANConfig, heads: int, kv_heads: int) -> Table:
    """consolidated.pth: q and k rotate neighbours (interleaved), one qk-norm for all heads.

    Both are reordered to rotate halves. Source: arXiv 2405.09818 and its released inference code.
    """
    linear = {
        "attention/v": "attention.wv",
        "attention/o": "attention.wo",
        "mlp/gate": "feed_forward.w1",
        "mlp/up": "feed_forward.w3",
        "mlp/down": "feed_forward.w2",
    }
    same = {"attention_norm/scale": "attention_norm.weight", "mlp_norm/scale": "ffn_norm.weight"}
    layers = "layers.{layer}."
    rotary = [
        rule
        for name, own in (("q", heads), ("k", kv_heads))
        for rule in (
            Rule(
                f"{layers}attention.w{name}.weight",
                _layer(f"attention/{name}/kernel"),
                "rotary_linear",
                own,
            ),
            *(
                Rule(
                    f"{layers}attention.{name}_normalization.{theirs}",
                    _layer(f"attention/{name}_norm/{ours}"),
                    "rotary_norm",
                    own,
                )
                for theirs, ours in (("weight", "scale"), ("bias", "bias"))
            ),
        )
    ]
    rules = (
        Rule("tok_embeddings.weight", _path("embed/embedding")),
        *rotary,
        *(Rule(f"{layers}{n}.weight", _layer(f"{p}/kernel"), "linear") for p, n in linear.items()),
        *(Rule(layers + n, _layer(p)) for p, n in same.items()),
        Rule("norm.weight", _path("norm/scale")),
        Rule("output.weight", _path("head/kernel"), "linear"),
    )
    return Table((*rules, *_vqgan(vqgan, VQGAN_PREFIX, paint=True)), _IGNORABLE)


def vqgan_table(vqgan: VQGANConfig) -> Table:
    """vqgan.ckpt: encoder, codebook and decoder under the original's names."""
    return Table(_vqgan(vqgan, "", paint=True), _IGNORABLE)


def _vqgan(config: VQGANConfig, prefix: str, paint: bool) -> tuple[Rule, ...]:
    return tuple(
        Rule(prefix + name, ("vqgan", *path), "conv" if transform == "conv" else "same")
        for name, path, transform in upstream_keys(config)
        if paint or not name.startswith(f"{PAINTER}.")
    )


def _path(path: str) -> tuple[str, ...]:
    return ("decoder", *path.split("/"))


def _layer(path: str) -> tuple[str, ...]:
    return _path(f"layers/{path}")
