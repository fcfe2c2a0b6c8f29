"""What the fits of `tiny`'s picture tokenizer and of its words made."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from assets import make_llama_tokenizer as fit_tokenizer
from assets import make_seed_tokenizer as fit
from mmcot_jax import hf, safetensors_io
from mmcot_jax.models import seed_llama
from mmcot_jax.models.seed_llama.keys import seed_table
from mmcot_jax.models.seed_llama.tokenizer import SeedTokenizer
from mmcot_jax.tasks.shapes import facts

PACKAGED = pathlib.Path(seed_llama.__file__).parent


def shapes():
    pixels = jnp.zeros((1, 48, 48, 3))
    made = jax.eval_shape(SeedTokenizer(fit.TINY).init, jax.random.key(0), pixels)
    return {"seed": made["params"]}


def test_the_file_that_ships_is_read_whole_and_tells_scenes_apart():
    file = PACKAGED / "tiny_seed.safetensors"
    assert {x.dtype for x in safetensors_io.read(file).values()} == {np.dtype(np.float16)}
    params = hf.load(seed_table(fit.TINY), file, shapes())["seed"]
    found = fit.evaluate(params, given := fit.scenes(100, "validation"))
    assert found["right"] == 1
    assert found["shared"] == 0
    assert found["cosine"] > 0.97
    assert abs(found["cosine of another"]) < 0.2
    total, metrics = jax.jit(fit.loss, static_argnums=2)(params, given, SeedTokenizer(fit.TINY))
    assert float(metrics["right"]) == 1
    # at random 22 codes cost ln 22 = 3.1 nats, an embedding 1
    assert float(total) < 0.2


def test_codes_are_corners_of_one_distance():
    params = hf.load(seed_table(fit.TINY), PACKAGED / "tiny_seed.safetensors", shapes())
    codebook = params["seed"]["codebook"]
    assert codebook.shape == (facts.CODES, 16)
    np.testing.assert_allclose(jnp.linalg.norm(codebook, axis=1), 1, atol=1e-3)


def test_words_are_whole_tokens_and_any_text_round_trips():
    made = fit_tokenizer.train(fit_tokenizer.words(20))
    assert made.encode("<think> the red circle</think>").tokens == [
        "<think>", "Ġthe", "Ġred", "Ġcircle", "</think>",
    ]  # fmt: skip
    text = "naïve ☃ <b>\t'?' (A)\n\n< "
    assert made.decode(made.encode(text).ids, skip_special_tokens=False) == text
    assert [made.id_to_token(i) for i in range(3)] == ["<unk>", "<s>", "</s>"]
