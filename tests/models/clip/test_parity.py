"""CLIP against arrays of transformers, tiny random weights."""

import io as bytesio

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mmcot_jax import hf
from mmcot_jax.models.clip import config, keys, model
from mmcot_jax.models.clip.preprocess import preprocess

pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def golden(reference):
    return reference / "golden" / "clip"


@pytest.fixture(scope="module")
def io(golden):
    with np.load(golden / "io.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def c(golden):
    return config.read(golden)


@pytest.fixture(scope="module")
def params(c, golden):
    pixels, ids = jnp.zeros((1, c.size, c.size, 3)), jnp.zeros((1, 4), jnp.int32)
    shapes = jax.eval_shape(model.Clip(c).init, jax.random.key(0), pixels, ids)["params"]
    return hf.load(keys.table(), golden / "weights.safetensors", {"clip": shapes})["clip"]


def close(found, expected, atol):
    np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=atol)


def photo(io, number):
    return Image.open(bytesio.BytesIO(io[f"in_photo{number}_png"].tobytes()))


def test_pixels(c, io):
    for number in (0, 1):
        found = preprocess(photo(io, number), c.size)
        close(np.moveaxis(found, -1, 0), io["out_pixel_values"][number], 1e-5)
        image = jnp.asarray(np.array(photo(io, number).convert("RGB"))[None])
        on_device = model.from_pixels(image, c.size)[0]
        close(on_device, found, 1e-5)
    large = np.moveaxis(preprocess(photo(io, 1), 224), -1, 0)
    close(large[:, ::4, ::4], io["out_pixel_values_224_photo1"][0], 1e-5)


def test_hidden_states_and_embeddings(c, params, io):
    def run(x, method):
        return model.Clip(c).apply(
            {"params": params}, x, method=method, capture_intermediates=True, mutable=True
        )

    pixels = jnp.asarray(np.moveaxis(io["out_pixel_values"], 1, -1))
    images, made = run(pixels, "embed_images")
    close(images, io["out_image_features_unnormalised"], 1e-5)
    vision = made["intermediates"]["vision"]
    close(vision["__call__"][0], io["out_vision_pooled"], 5e-5)
    close(vision["pre_norm"]["__call__"][0], io["out_vision_hidden0"], 5e-5)
    last = io[f"out_vision_hidden{c.vision.layers}"]
    close(vision["blocks"]["__call__"][0], last, 5e-5)
    ids, mask = jnp.asarray(io["in_input_ids"]), io["in_attention_mask"].astype(bool)
    texts, made = run(ids, "embed_texts")
    close(texts, io["out_text_features_unnormalised"], 1e-5)
    hidden = np.asarray(made["intermediates"]["text"]["__call__"][0])
    close(hidden[mask], io["out_text_last_hidden"][mask], 5e-5)
    pooled = hidden[np.arange(len(ids)), np.argmax(ids, axis=1)]
    close(pooled, io["out_text_pooled"], 5e-5)
    images, texts = (x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (images, texts))
    close(images, io["out_image_embeds"], 1e-5)
    close(texts, io["out_text_embeds"], 1e-5)
    close(images @ texts.T, io["out_cosine_image_text"], 1e-5)
    close(jnp.exp(params["logit_scale"]) * images @ texts.T, io["out_logits_per_image"], 5e-5)
