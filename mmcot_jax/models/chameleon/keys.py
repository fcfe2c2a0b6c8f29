"""Chameleon's key tables: the Hugging Face names and the original release's. Host only, no jax.

Paths are those of our parameters: `decoder/...` (nn/decoder.py) and `vqgan/...` (vqgan.py). In both
tables the VQGAN's names begin with `model.vqmodel.`, as Hugging Face has them; the original keeps
the VQGAN in a file of its own (vqgan.ckpt), under the same names without that prefix.
"""

from itertools import pairwise

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
        *_layers("", "quant_conv", "post_quant_conv"),
    ]
    return [rule._replace(upstream=prefix + rule.upstream) for rule in rules]


def _encoder(c: VQGANConfig) -> list[Rule]:
    rules = _layers("encoder/", "conv_in")
    for level, (width, out) in enumerate(pairwise((c.ch, *c.widths))):
        for block in range(c.num_res_blocks):
            rules += _block(f"encoder/down.{level}.block.{block}", block == 0 and width != out)
        if level < len(c.widths) - 1:
            rules += _layers("encoder/", f"down.{level}.downsample.conv")
    return rules + _middle("encoder") + _layers("encoder/", "norm_out", "conv_out")


def _decoder(c: VQGANConfig) -> list[Rule]:
    rules = _layers("decoder/", "conv_in") + _middle("decoder")
    # the original's order is by resolution, although the last level is applied first
    for level, (out, width) in enumerate(pairwise((*c.widths, c.widths[-1]))):
        for block in range(c.num_res_blocks + 1):
            rules += _block(f"decoder/up.{level}.block.{block}", block == 0 and width != out)
        if level:
            rules += _layers("decoder/", f"up.{level}.upsample.conv")
    return rules + _layers("decoder/", "norm_out", "conv_out")


def _middle(half: str) -> list[Rule]:
    attention = _layers(f"{half}/mid.attn_1/", "norm", "q", "k", "v", "proj_out")
    return _block(f"{half}/mid.block_1") + attention + _block(f"{half}/mid.block_2")


def _block(name: str, shortcut: bool = False) -> list[Rule]:
    more = ("nin_shortcut",) if shortcut else ()
    return _layers(f"{name}/", "norm1", "conv1", "norm2", "conv2", *more)


def _layers(module: str, *names: str) -> list[Rule]:
    """Returns the rules of a module's norms and convolutions.

    `decoder/up.1.upsample.conv` is decoder.up.1.upsample.conv upstream, and here
    vqgan / decoder / up_1_upsample.
    """
    rules: list[Rule] = []
    for name in (module + name for name in names):
        path = "vqgan/" + name.removesuffix(".conv").replace(".", "_")
        kind = ("scale", "same") if "norm" in name else ("kernel", "conv")
        rules += weight_and_bias(name.replace("/", "."), path, *kind)
    return rules
