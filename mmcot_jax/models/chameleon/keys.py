"""Chameleon's key tables: the Hugging Face names and the original release's. Host only, no jax.

Paths are those of our parameters: `decoder/...` (nn/decoder.py) and `vqgan/...` (vqgan.py). In both
tables the VQGAN's names begin with `model.vqmodel.`, as Hugging Face has them; the original keeps
the VQGAN in a file of its own (vqgan.ckpt), under the same names without that prefix.
"""

from mmcot_jax.keytable import Rule, Table, layer_rules, parse_path, weight_and_bias
from mmcot_jax.models.chameleon.config import VQGANConfig
from mmcot_jax.nn.decoder_keys import LAYER_NORMS, QK_NORMS, decoder_rules

VQGAN_PREFIX = "model.vqmodel."
VQGAN_DECODER = "decoder"
"""The part of the VQGAN that Hugging Face's port leaves out, because that port never draws."""

# the rotation's table, and the losses a VQGAN is trained with, are no weights of the model
_IGNORABLE = ("rope.freqs", "*.rotary_emb.inv_freq", "loss.*", f"{VQGAN_PREFIX}loss.*")


def hf_table(vqgan: VQGANConfig, vqgan_decoder: bool) -> Table:
    """Returns `ChameleonForConditionalGeneration`'s names: q and k rotate halves.

    With `vqgan_decoder` also those of the VQGAN's decoder, which Hugging Face's files lack.
    """
    rules = vqgan_rules(vqgan, VQGAN_PREFIX)
    if not vqgan_decoder:
        rules = [r for r in rules if r.path[1] != VQGAN_DECODER]
    return Table((*decoder_rules(same=QK_NORMS | LAYER_NORMS), *rules), _IGNORABLE)


def original_table(vqgan: VQGANConfig, heads: int, kv_heads: int) -> Table:
    """Returns consolidated.pth's names: q and k rotate neighbours, one qk-norm for all heads.

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
    rotary = []
    for x, count in (("q", heads), ("k", kv_heads)):
        name, path = "layers.{layer}.attention.", f"decoder/layers/attention/{x}"
        norm = f"{name}{x}_normalization."
        rotary += [
            Rule(f"{name}w{x}.weight", parse_path(f"{path}/kernel"), "rotary_linear", count),
            Rule(f"{norm}weight", parse_path(f"{path}_norm/scale"), "rotary_norm", count),
            Rule(f"{norm}bias", parse_path(f"{path}_norm/bias"), "rotary_norm", count),
        ]
    rules = (
        Rule("tok_embeddings.weight", parse_path("decoder/embed/embedding")),
        *rotary,
        *layer_rules("decoder/layers", "layers", linear, same),
        Rule("norm.weight", parse_path("decoder/norm/scale")),
        Rule("output.weight", parse_path("decoder/head/kernel"), "linear"),
    )
    return Table((*rules, *vqgan_rules(vqgan, VQGAN_PREFIX)), _IGNORABLE)


def vqgan_table(vqgan: VQGANConfig) -> Table:
    """Returns vqgan.ckpt's names: encoder, codebook and decoder."""
    return Table(tuple(vqgan_rules(vqgan)), _IGNORABLE)


def vqgan_rules(c: VQGANConfig, prefix: str = "") -> list[Rule]:
    """Returns the rules of every weight of the original `VQModel`, in its order.

    `encoder.down.0.block.1.conv1.weight` is vqgan / encoder / down_0_block_1 / conv1 / kernel.
    """
    rules = [
        *_encoder(c),
        *_decoder(c),
        Rule("quantize.embedding.weight", ("vqgan", "codebook")),
        *_conv("quant_conv"),
        *_conv("post_quant_conv"),
    ]
    return [rule._replace(upstream=prefix + rule.upstream) for rule in rules]


def _encoder(c: VQGANConfig) -> list[Rule]:
    rules, width = _conv("encoder.conv_in"), c.ch
    for level, out in enumerate(c.widths):
        for block in range(c.num_res_blocks):
            rules += _block(f"encoder.down.{level}.block.{block}", width, out)
            width = out
        if level < len(c.widths) - 1:
            rules += _conv(f"encoder.down.{level}.downsample.conv")
    return rules + _middle("encoder", width) + _end("encoder")


def _decoder(c: VQGANConfig) -> list[Rule]:
    width, levels = c.widths[-1], []
    for level in reversed(range(len(c.widths))):
        rules: list[Rule] = []
        for block in range(c.num_res_blocks + 1):
            rules += _block(f"decoder.up.{level}.block.{block}", width, c.widths[level])
            width = c.widths[level]
        if level:
            rules += _conv(f"decoder.up.{level}.upsample.conv")
        levels.append(rules)
    start = _conv("decoder.conv_in") + _middle("decoder", c.widths[-1])
    return start + [rule for rules in reversed(levels) for rule in rules] + _end("decoder")


def _path(name: str) -> str:
    """`decoder.up.1.upsample.conv` -> `vqgan/decoder/up_1_upsample`."""
    half, *rest = name.removesuffix(".conv").split(".")
    return "/".join(["vqgan", half, *(["_".join(rest)] if rest else [])])


def _conv(name: str, path: str = "") -> list[Rule]:
    return weight_and_bias(name, path or _path(name), "kernel", "conv")


def _norm(name: str, path: str = "") -> list[Rule]:
    return weight_and_bias(name, path or _path(name), "scale", "same")


def _block(name: str, width: int, out: int) -> list[Rule]:
    path, rules = _path(name), []
    for i in "12":
        rules += _norm(f"{name}.norm{i}", f"{path}/norm{i}")
        rules += _conv(f"{name}.conv{i}", f"{path}/conv{i}")
    shortcut = _conv(f"{name}.nin_shortcut", f"{path}/nin_shortcut")
    return rules + (shortcut if width != out else [])


def _middle(half: str, width: int) -> list[Rule]:
    name = f"{half}.mid.attn_1"
    attention = _norm(f"{name}.norm", f"{_path(name)}/norm")
    for part in ("q", "k", "v", "proj_out"):
        attention += _conv(f"{name}.{part}", f"{_path(name)}/{part}")
    first, last = (_block(f"{half}.mid.block_{i}", width, width) for i in (1, 2))
    return first + attention + last


def _end(half: str) -> list[Rule]:
    return _norm(f"{half}.norm_out") + _conv(f"{half}.conv_out")
