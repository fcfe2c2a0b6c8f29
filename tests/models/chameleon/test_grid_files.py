"""The small VQGAN and the tokenizer of the configs `planning`."""

import jax
import numpy as np
import pytest

from configs import m2m
from mmcot_jax import mesh, models
from mmcot_jax.grids import pictures
from mmcot_jax.models.chameleon.vqgan import VQGAN, from_pixels, to_pixels
from mmcot_jax.tasks import frozenlake, maze


@pytest.fixture(scope="module")
def built():
    c = m2m.get_config("planning").model.to_dict()
    module = models.get("chameleon")
    backbone = module.build(c, learn="chain", eos=True)
    return backbone, module.load(backbone, c, jax.random.key(0), mesh.make(1, -1, 1))


@pytest.mark.parametrize("canvas", [4, 6])
def test_decoded_states_are_recognised(built, canvas):
    backbone, variables = built
    model = VQGAN(backbone.vqgan._replace(resolution=8 * canvas))
    params = {"params": variables["params"]["vqgan"]}
    states = [
        (example.extra["grid"], (number % example.extra["side"], number % 3))
        for task in (frozenlake, maze)
        for number, example in enumerate(task.load(count=60, sizes=(3, 4)))
    ]
    drawn = np.stack([pictures.draw(grid, cell, 8 * canvas, canvas) for grid, cell in states])

    @jax.jit
    def decode(x):
        codes = model.apply(params, from_pixels(x), method="encode")
        return to_pixels(model.apply(params, codes, method="decode")), codes

    decoded, codes = map(np.asarray, decode(drawn))
    assert codes.shape == (240, canvas**2)
    right = [
        pictures.recognise(grid, picture, canvas) == cell
        for (grid, cell), picture in zip(states, decoded, strict=True)
    ]
    assert np.mean(right) >= 0.99
    tiles = np.stack([pictures.tiles(grid, cell, canvas).ravel() for grid, cell in states])
    of_tile = {int(tile): set(codes[tiles == tile].tolist()) for tile in np.unique(tiles)}
    assert sorted(len(found) for found in of_tile.values()) == [1] * len(pictures.TILES)


def test_a_step_in_words_is_two_tokens(built):
    tokenizer = built[0].renderer.tokenizer
    for task in (frozenlake, maze):
        for example in task.load(count=5, sizes=(4, 8)):
            (chain,) = example.rationale
            assert len(tokenizer.encode(chain).ids) == len(chain.split())
            assert tokenizer.decode(tokenizer.encode(example.prompt[0]).ids) == example.prompt[0]
