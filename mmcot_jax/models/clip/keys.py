"""CLIP's key tables: `CLIPModel`'s names, and its text tower's alone. Host only, no jax."""

from mmcot_jax.keytable import Rule, Table, layer_rules, parse_path, weight_and_bias

_IGNORABLE = ("*.position_ids",)


def table() -> Table:
    """Returns the names of both towers and their projections."""
    vision, text = "vision_model.embeddings.", "clip/vision"
    rules = [
        Rule("logit_scale", ("clip", "logit_scale")),
        Rule("visual_projection.weight", parse_path("clip/visual_projection/kernel"), "linear"),
        Rule("text_projection.weight", parse_path("clip/text_projection/kernel"), "linear"),
        Rule(f"{vision}class_embedding", parse_path(f"{text}/class_token")),
        Rule(f"{vision}patch_embedding.weight", parse_path(f"{text}/patch_kernel"), "conv"),
        Rule(f"{vision}position_embedding.weight", parse_path(f"{text}/positions")),
        *weight_and_bias("vision_model.pre_layrnorm", f"{text}/pre_norm", "scale", "same"),
        *weight_and_bias("vision_model.post_layernorm", f"{text}/norm", "scale", "same"),
        *_blocks("vision_model", "clip/vision"),
        *_text("clip/text"),
    ]
    return Table(tuple(rules), _IGNORABLE)


def text_table() -> Table:
    """Returns the names of `CLIPTextModel`: the text tower without its projection."""
    return Table(tuple(_text("text")), _IGNORABLE)


def _text(path: str) -> list[Rule]:
    name = "text_model.embeddings."
    return [
        Rule(f"{name}token_embedding.weight", parse_path(f"{path}/tokens")),
        Rule(f"{name}position_embedding.weight", parse_path(f"{path}/positions")),
        *_blocks("text_model", path),
        *weight_and_bias("text_model.final_layer_norm", f"{path}/norm", "scale", "same"),
    ]


def _blocks(name: str, path: str) -> list[Rule]:
    linear = {f"attention_{x}": f"self_attn.{x}_proj" for x in "qkv"}
    linear |= {"attention_out": "self_attn.out_proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    norms = {"attention_norm": "layer_norm1", "mlp_norm": "layer_norm2"}
    same = {f"{ours}/bias": f"{theirs}.bias" for ours, theirs in (linear | norms).items()}
    same |= {f"{ours}/scale": f"{theirs}.weight" for ours, theirs in norms.items()}
    return layer_rules(f"{path}/blocks/layers", f"{name}.encoder.layers", linear, same)
