"""Makes vqgan.npz: a tiny VQGAN's latents, codes and pixels, from two upstream implementations.

The encoder and the codes are transformers' `ChameleonVQVAE`, the decoder is diffusers' `Decoder`
(the same layers under other names). Weights are not stored: each is a function of its name.

    pip install torch transformers diffusers && python tests/golden/make_vqgan.py
"""

import pathlib
import re
import zlib

import numpy as np
import torch
from diffusers.models.autoencoders.vae import Decoder
from transformers import ChameleonVQVAE, ChameleonVQVAEConfig

CH, MULT, BLOCKS, Z, E, CODES, SIDE = 32, (1, 2), 1, 24, 20, 96, 16


def weight(name, shape):
    """Normal numbers seeded by the name; `RandomState`'s stream is frozen by numpy's policy."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    scale = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1
    value = random.standard_normal(shape) * scale
    return (value + ("norm" in name and name.endswith("weight"))).astype(np.float32)


def fill(module, rename=lambda name: name):
    """Every tensor of `module`, drawn by its name in the original release."""
    old = module.state_dict()
    new = {}
    for key, value in old.items():
        name = rename(key)
        shape = tuple(value.shape)
        # attention in diffusers is linear layers: the original's are 1 x 1 convolutions
        drawn = (*shape, 1, 1) if "attn_1" in name and value.ndim == 2 else shape
        new[key] = torch.from_numpy(weight(name, drawn).reshape(shape))
    module.load_state_dict(new)


def original(key):
    """diffusers' decoder names -> the original's; its up blocks count from the coarsest level."""
    rules = [
        (r"mid_block\.resnets\.0", "mid.block_1"),
        (r"mid_block\.resnets\.1", "mid.block_2"),
        (r"mid_block\.attentions\.0", "mid.attn_1"),
        (r"up_blocks\.(\d)\.resnets", lambda m: f"up.{len(MULT) - 1 - int(m[1])}.block"),
        (r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{len(MULT) - 1 - int(m[1])}.upsample"),
        ("conv_shortcut", "nin_shortcut"),
        ("group_norm", "norm"),
        ("to_out.0", "proj_out"),
        ("to_([qkv])", r"\1"),
        ("conv_norm_out", "norm_out"),
    ]
    for pattern, name in rules:
        key = re.sub(pattern, name, key)
    return f"decoder.{key}"


def main():
    """Writes vqgan.npz beside this file."""
    encoder = ChameleonVQVAE(
        ChameleonVQVAEConfig(
            embed_dim=E, num_embeddings=CODES, latent_channels=Z, resolution=SIDE,
            base_channels=CH, channel_multiplier=list(MULT), num_res_blocks=BLOCKS,
        )
    ).eval()  # fmt: skip
    fused = {k for k in encoder.state_dict() if k.startswith("post_quant_conv")}
    fill(encoder)
    decoder = Decoder(
        in_channels=Z, up_block_types=("UpDecoderBlock2D",) * len(MULT),
        block_out_channels=[CH * m for m in MULT], layers_per_block=BLOCKS,
    ).eval()  # fmt: skip
    fill(decoder, original)
    post = torch.nn.Conv2d(E, Z, 1)
    fill(post, lambda key: f"post_quant_conv.{key}")

    coarse = np.random.RandomState(0).uniform(-1, 1, (3, 3, SIDE // 4, SIDE // 4))
    pixels = torch.from_numpy(coarse.repeat(4, 2).repeat(4, 3).astype(np.float32))
    with torch.no_grad():
        z = encoder.quant_conv(encoder.encoder(pixels))
        quantised, _, codes = encoder.quantize(z)
        decoded = decoder(post(quantised))
    to = torch.cdist(z.permute(0, 2, 3, 1).reshape(-1, E), encoder.quantize.embedding.weight) ** 2
    two = to.topk(2, largest=False).values
    print("codes used", codes.unique().numel(), "smallest margin", (two[:, 1] - two[:, 0]).min())
    print("decoded", decoded.min(), decoded.max(), "kept out", sorted(fused))
    np.savez_compressed(
        pathlib.Path(__file__).with_name("vqgan.npz"), pixels=pixels.numpy(), latents=z.numpy(),
        codes=codes.reshape(len(pixels), -1).numpy().astype(np.int32), decoded=decoded.numpy(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
