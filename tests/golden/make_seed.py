"""Makes seed.npz: a tiny SEED tokenizer's tokens, queries, latents, codes and embeddings.

The ViT and the Q-Former are transformers' BLIP-2 (given a causal mask, as SEED does), the blocks
behind the codes are torch's own pre-norm encoder layers. Weights are not stored: each is a function
of its name in SEED's release (drawn.py).

    pip install torch transformers && python tests/golden/make_seed.py
"""

import pathlib

import numpy as np
import torch
from drawn import weight
from torch import nn
from transformers import (
    Blip2QFormerConfig,
    Blip2QFormerModel,
    Blip2VisionConfig,
    Blip2VisionModel,
)

SIDE, PATCH, VIT, VIT_LAYERS, VIT_HEADS, VIT_MLP = 28, 7, 24, 2, 3, 40
QUERIES, WIDTH, LAYERS, HEADS, MLP = 6, 20, 3, 2, 36
CODES, CODE, IMAGE_LAYERS, IMAGE_HEADS, DOWN, EMBEDDING = 48, 10, 2, 4, (16, 12, 8), 14


def draw(name, shape):
    return torch.from_numpy(weight(name, tuple(shape)))


def fill(module, prefix):
    """Every parameter of a module, drawn by its name in SEED's release."""
    for name, value in module.named_parameters():
        value.data = draw(f"{prefix}{name}", value.shape)
    return module


def vision():
    """Pixels -> tokens, without a last norm."""
    model = Blip2VisionModel(
        Blip2VisionConfig(
            hidden_size=VIT, intermediate_size=VIT_MLP, num_hidden_layers=VIT_LAYERS,
            num_attention_heads=VIT_HEADS, image_size=SIDE, patch_size=PATCH, hidden_act="gelu",
            layer_norm_eps=1e-6, qkv_bias=True, attn_implementation="eager",
        )
    ).eval()  # fmt: skip
    head = "visual_encoder."
    names = {
        "embeddings.class_embedding": "cls_token",
        "embeddings.position_embedding": "pos_embed",
        "embeddings.patch_embedding": "patch_embed.proj",
        "encoder.layers": "blocks",
        "layer_norm": "norm",
        "self_attn": "attn",
        "projection": "proj",
    }
    for name, value in model.named_parameters():
        theirs = name
        for ours, upstream in names.items():
            theirs = theirs.replace(ours, upstream)
        if theirs.endswith("qkv.bias"):
            q, v = (
                draw(f"{head}{theirs.replace('qkv.bias', n)}", (VIT,)) for n in ("q_bias", "v_bias")
            )
            value.data = torch.cat([q, torch.zeros(VIT), v])
        else:
            value.data = draw(head + theirs, value.shape)
    return lambda pixels: model.encoder(inputs_embeds=model.embeddings(pixels)).last_hidden_state


def qformer():
    """(queries, tokens) -> queries."""
    model = Blip2QFormerModel(
        Blip2QFormerConfig(
            hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
            intermediate_size=MLP, encoder_hidden_size=VIT, cross_attention_frequency=2,
            layer_norm_eps=1e-12, attn_implementation="eager",
        )
    ).eval()  # fmt: skip
    head = "Qformer.bert."
    for name, value in model.named_parameters():
        theirs = name.replace("attention.attention", "attention.self")
        theirs = theirs.replace("layernorm", "embeddings.LayerNorm")
        value.data = draw(head + theirs, value.shape)
    causal = torch.tril(torch.ones(1, 1, QUERIES, QUERIES, dtype=torch.bool))
    causal = torch.where(causal, 0.0, -torch.inf)

    def run(queries, tokens):
        mask = causal.expand(len(tokens), -1, -1, -1)
        return model(
            query_embeds=queries.expand(len(tokens), -1, -1), attention_mask=mask,
            encoder_hidden_states=tokens,
        ).last_hidden_state  # fmt: skip

    return run


def image_blocks():
    """Queries -> queries, without a last norm."""
    layers = []
    for i in range(IMAGE_LAYERS):
        layer = nn.TransformerEncoderLayer(
            WIDTH, IMAGE_HEADS, 4 * WIDTH, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True
        ).eval()
        names = {
            "self_attn.in_proj_": "attn.qkv.",
            "self_attn.out_proj": "attn.proj",
            "linear": "mlp.fc",
        }
        for name, value in layer.named_parameters():
            theirs = name
            for ours, upstream in names.items():
                theirs = theirs.replace(ours, upstream)
            value.data = draw(f"blocks_image.{i}.{theirs}", value.shape)
        layers.append(layer)
    return nn.Sequential(*layers)


def main():
    """Writes seed.npz beside this file."""
    see, ask, blocks = vision(), qformer(), image_blocks()
    ln_vision = fill(nn.LayerNorm(VIT, eps=1e-5), "ln_vision.")
    encode = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, CODE))
    decode = nn.Sequential(nn.Linear(CODE, CODE), nn.Tanh(), nn.Linear(CODE, WIDTH))
    fill(encode, "encode_task_layer."), fill(decode, "decode_task_layer.")
    widths = (WIDTH, *DOWN)
    pairs = [nn.Linear(a, b, bias=False) for a, b in zip(widths, DOWN, strict=False)]
    down = fill(nn.Sequential(pairs[0], nn.ReLU(), pairs[1], nn.ReLU(), pairs[2]), "image_down.")
    project = fill(nn.Linear(QUERIES * DOWN[-1], EMBEDDING), "distill_image_proj.")
    positions = draw("pos_embed_image", (1, QUERIES, WIDTH))

    def find(pixels):
        tokens = see(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        queries = ask(draw("query_tokens", (1, QUERIES, WIDTH)), ln_vision(tokens))
        return tokens, queries, encode(queries)

    def embed(codes):
        x = blocks(decode(codebook[codes]) + positions)
        return project(down(x).flatten(1))

    random = np.random.RandomState(0)
    pixels = random.standard_normal((3 + 8, SIDE // PATCH, SIDE // PATCH, 3)).repeat(PATCH, 1)
    pixels, others = np.split(pixels.repeat(PATCH, 2).astype(np.float32), [3])
    drawn = random.randint(0, CODES, (2, QUERIES)).astype(np.int32)
    with torch.no_grad():
        # what other pictures look like, so that different pictures have different codes
        codebook = find(others)[2].reshape(-1, CODE)
        tokens, queries, latents = find(pixels)
        far = torch.cdist(latents.reshape(-1, CODE), codebook) ** 2
        two = far.topk(2, largest=False).values
        codes = far.argmin(-1).reshape(len(pixels), QUERIES)
        embedding, other = embed(codes), embed(torch.from_numpy(drawn).long())
    print("codes used", codes.unique().numel(), "smallest margin", (two[:, 1] - two[:, 0]).min())
    path = pathlib.Path(__file__).with_name("seed.npz")
    np.savez_compressed(
        path, pixels=pixels, tokens=tokens.numpy(), queries=queries.numpy(),
        latents=latents.numpy(), codes=codes.numpy().astype(np.int32), embedding=embedding.numpy(),
        drawn=drawn, drawn_embedding=other.numpy(),
        codebook=codebook.numpy(),
    )  # fmt: skip
    print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
