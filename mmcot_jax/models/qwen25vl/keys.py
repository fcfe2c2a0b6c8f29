"""Qwen2.5-VL's key table: the names of its checkpoints. Host only, no jax.

Paths are those of our parameters: `decoder/...` (nn/decoder.py) and `vision/...` (vision.py).
"""

from mmcot_jax.keytable import Rule, Table

SAVED = {"decoder": "model.", "vision": "visual."}
"""Prefixes in the released checkpoints, and in what transformers writes."""
LOADED = {"decoder": "model.language_model.", "vision": "model.visual."}
"""Prefixes in the library's memory since transformers 4.52: an adapter's names are built of them,
and some tools write them to disk."""


def hf_table(*, tied: bool, qk_norm: bool = False, prefixes: dict[str, str] = SAVED) -> Table:
    """`Qwen2_5_VLForConditionalGeneration`; `tied`: the head is the embedding.

    With `qk_norm` also that norm, which small models of ours have and the released ones lack.
    """
    head = () if tied else (Rule("lm_head.weight", ("decoder", "head", "kernel"), "linear"),)
    # a tied head may have been written all the same; the rotation's table is no weight
    ignorable = ("*.inv_freq", *(("lm_head.weight",) if tied else ()))
    words, pictures = _decoder(prefixes["decoder"], qk_norm), _vision(prefixes["vision"])
    return Table((*words, *head, *pictures), ignorable)


def _decoder(prefix: str, qk_norm: bool) -> tuple[Rule, ...]:
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
        "attention/q/bias": "self_attn.q_proj.bias",
        "attention/k/bias": "self_attn.k_proj.bias",
        "attention/v/bias": "self_attn.v_proj.bias",
        "attention_norm/scale": "input_layernorm.weight",
        "mlp_norm/scale": "post_attention_layernorm.weight",
    }
    if qk_norm:
        norms = [f"{name}_norm" for name in "qk"]
        same |= {f"attention/{norm}/scale": f"self_attn.{norm}.weight" for norm in norms}
        same |= {f"attention/{norm}/bias": f"self_attn.{norm}.bias" for norm in norms}
    return (
        Rule(f"{prefix}embed_tokens.weight", ("decoder", "embed", "embedding")),
        *_layers("decoder", f"{prefix}layers.", linear, same),
        Rule(f"{prefix}norm.weight", ("decoder", "norm", "scale")),
    )


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
        *_layers("vision", f"{prefix}blocks.", linear, same),
        Rule(f"{merger}ln_q.weight", ("vision", "norm", "scale")),
        Rule(f"{merger}mlp.0.weight", ("vision", "inner", "kernel"), "linear"),
        Rule(f"{merger}mlp.0.bias", ("vision", "inner", "bias")),
        Rule(f"{merger}mlp.2.weight", ("vision", "outer", "kernel"), "linear"),
        Rule(f"{merger}mlp.2.bias", ("vision", "outer", "bias")),
    )


def _layers(part: str, prefix: str, linear: dict[str, str], same: dict[str, str]) -> list[Rule]:
    def path(name: str) -> tuple[str, ...]:
        return (part, "layers", *name.split("/"))

    name = f"{prefix}{{layer}}."
    return [
        *(Rule(f"{name}{n}.weight", path(f"{p}/kernel"), "linear") for p, n in linear.items()),
        *(Rule(f"{name}{n}", path(p)) for p, n in same.items()),
    ]
