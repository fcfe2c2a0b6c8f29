"""Hugging Face's names of the decoder's parameters (nn/decoder.py). Host only, no jax."""

from collections.abc import Mapping

from mmcot_jax.keytable import Rule, layer_rules, parse_path

LINEAR = {
    "attention/q": "self_attn.q_proj",
    "attention/k": "self_attn.k_proj",
    "attention/v": "self_attn.v_proj",
    "attention/o": "self_attn.o_proj",
    "mlp/gate": "mlp.gate_proj",
    "mlp/up": "mlp.up_proj",
    "mlp/down": "mlp.down_proj",
}
LAYER_NORMS = {
    "attention_norm/scale": "input_layernorm.weight",
    "mlp_norm/scale": "post_attention_layernorm.weight",
}
QKV_BIASES = {f"attention/{x}/bias": f"self_attn.{x}_proj.bias" for x in "qkv"}
QK_NORMS = {
    f"attention/{x}_norm/{ours}": f"self_attn.{x}_norm.{theirs}"
    for x in "qk"
    for ours, theirs in (("scale", "weight"), ("bias", "bias"))
}
HEAD = "lm_head.weight"


def decoder_rules(
    *, same: Mapping[str, str] = LAYER_NORMS, tied: bool = False, prefix: str = "model."
) -> tuple[Rule, ...]:
    """Returns the rules of a whole decoder.

    `same` maps what each layer has besides `LINEAR`; `tied`: the head is the embedding.
    """
    return (
        Rule(f"{prefix}embed_tokens.weight", parse_path("decoder/embed/embedding")),
        *layer_rules("decoder/layers", f"{prefix}layers", LINEAR, same),
        Rule(f"{prefix}norm.weight", parse_path("decoder/norm/scale")),
        *([] if tied else [Rule(HEAD, parse_path("decoder/head/kernel"), "linear")]),
    )
