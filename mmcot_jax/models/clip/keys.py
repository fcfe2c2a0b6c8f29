"""CLIP's key table: which upstream tensors are which parameters. Host only, no jax.

Paths are those of `towers.Clip`, under `clip/`.
"""

from mmcot_jax.keytable import Rule, Table, layer_rules, parse_path, weight_and_bias

_LINEAR = {
    "attention/q": "self_attn.q_proj",
    "attention/k": "self_attn.k_proj",
    "attention/v": "self_attn.v_proj",
    "attention/out": "self_attn.out_proj",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}
_SAME = {f"{ours}/bias": f"{theirs}.bias" for ours, theirs in _LINEAR.items()} | {
    "attention_norm/scale": "layer_norm1.weight",
    "attention_norm/bias": "layer_norm1.bias",
    "mlp_norm/scale": "layer_norm2.weight",
    "mlp_norm/bias": "layer_norm2.bias",
}


def table() -> Table:
    """Returns `CLIPModel`'s names; older files also hold the buffers of positions."""
    image, text = "vision_model", "text_model"
    rules = (
        Rule("logit_scale", parse_path("clip/logit_scale")),
        Rule(f"{image}.embeddings.class_embedding", parse_path("clip/image/class_token")),
        Rule(
            f"{image}.embeddings.patch_embedding.weight",
            parse_path("clip/image/patch_kernel"),
            "conv",
        ),
        Rule(f"{image}.embeddings.position_embedding.weight", parse_path("clip/image/positions")),
        *weight_and_bias(f"{image}.pre_layrnorm", "clip/image/pre_norm", "scale", "same"),
        *layer_rules("clip/image/layers", f"{image}.encoder.layers", _LINEAR, _SAME),
        *weight_and_bias(f"{image}.post_layernorm", "clip/image/post_norm", "scale", "same"),
        Rule(
            f"{text}.embeddings.token_embedding.weight",
            parse_path("clip/text/embed/embedding"),
        ),
        Rule(f"{text}.embeddings.position_embedding.weight", parse_path("clip/text/positions")),
        *layer_rules("clip/text/layers", f"{text}.encoder.layers", _LINEAR, _SAME),
        *weight_and_bias(f"{text}.final_layer_norm", "clip/text/norm", "scale", "same"),
        Rule("visual_projection.weight", parse_path("clip/image_projection/kernel"), "linear"),
        Rule("text_projection.weight", parse_path("clip/text_projection/kernel"), "linear"),
    )
    return Table(rules, ("*.position_ids",))
