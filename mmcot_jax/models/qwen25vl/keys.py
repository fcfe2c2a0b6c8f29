"""Qwen2.5-VL's key table: the names of its checkpoints. Host only, no jax.

Paths are those of our parameters: `decoder/...` (nn/decoder.py) and `vision/...` (vision.py).
"""

from mmcot_jax.keytable import Rule, Table, layer_rules, parse_path, weight_and_bias
from mmcot_jax.nn.decoder_keys import HEAD, LAYER_NORMS, QK_NORMS, QKV_BIASES, decoder_rules

SAVED = {"decoder": "model.", "vision": "visual."}
"""Prefixes in the released checkpoints, and in what transformers writes."""
LOADED = {"decoder": "model.language_model.", "vision": "model.visual."}
"""Prefixes in the library's memory since transformers 4.52: PEFT builds an adapter's names of them,
and some tools write them to disk."""


def hf_table(*, tied: bool, qk_norm: bool = False, prefixes: dict[str, str] = SAVED) -> Table:
    """Returns `Qwen2_5_VLForConditionalGeneration`'s names; `tied`: the head is the embedding.

    With `qk_norm` also those of that norm, which our small models have and the released ones lack.
    """
    same = QKV_BIASES | LAYER_NORMS
    if qk_norm:  # scales before biases, as our exports have always ordered them
        same |= sorted(QK_NORMS.items(), key=lambda item: item[0].endswith("bias"))
    words = decoder_rules(same=same, tied=tied, prefix=prefixes["decoder"])
    # some files of a tied model hold its head a second time; the rotation's table is no weight
    ignorable = ("*.inv_freq", *([HEAD] if tied else []))
    return Table((*words, *_vision(prefixes["vision"])), ignorable)


def _vision(prefix: str) -> tuple[Rule, ...]:
    linear = {
        "attention/qkv": "attn.qkv",
        "attention/o": "attn.proj",
        "mlp/gate": "mlp.gate_proj",
        "mlp/up": "mlp.up_proj",
        "mlp/down": "mlp.down_proj",
    }
    same = {f"{path}/bias": f"{name}.bias" for path, name in linear.items()}
    same |= {"attention_norm/scale": "norm1.weight", "mlp_norm/scale": "norm2.weight"}
    merger = f"{prefix}merger."
    return (
        Rule(f"{prefix}patch_embed.proj.weight", ("vision", "patch"), "patches"),
        *layer_rules("vision/layers", f"{prefix}blocks", linear, same),
        Rule(f"{merger}ln_q.weight", parse_path("vision/norm/scale")),
        *weight_and_bias(f"{merger}mlp.0", "vision/inner", "kernel", "linear"),
        *weight_and_bias(f"{merger}mlp.2", "vision/outer", "kernel", "linear"),
    )
