"""The tiny Qwen2.5-VL against the upstream implementation; images in its rows; what it refuses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import qwen_golden

from mmcot_jax import data
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Example
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.sampler import SampleStatic, row_keys, sample
from mmcot_jax.train import step as steps
from mmcot_jax.train.logps import concat_prompt_completions, score_rollout
from mmcot_jax.train.objective import Objective
from mmcot_jax.types import Batch, row_axes, split_microbatches

GOLDEN = [
    "own-untied",
    "own-tied",
    pytest.param("untied", marks=pytest.mark.reference),
    pytest.param("tied", marks=pytest.mark.reference),
]


@pytest.fixture(scope="module", params=GOLDEN)
def golden(request):
    if request.param.startswith("own"):
        return qwen_golden.own(tied=request.param == "own-tied")
    reference = request.getfixturevalue("reference")
    return qwen_golden.shared(reference / "golden" / "qwen25vl" / request.param)


def having(golden, name):
    return [case for case in golden.cases if case[name] is not None]


def joined(cases, name, width):
    """Rows of all cases, padded on the left with zeros."""
    pads = [[(0, 0), (width - case["ids"].shape[1], 0)] for case in cases]
    more = [
        [*pad, *[(0, 0)] * (case[name].ndim - 2)] for pad, case in zip(pads, cases, strict=True)
    ]
    return np.concatenate([np.pad(c[name], m) for c, m in zip(cases, more, strict=True)])


@partial(jax.jit, static_argnums=0)
def logits_of(backbone, variables, batch):
    batch = backbone.prepare(variables, batch)
    return backbone.unembed(variables, backbone(variables, batch)[0])


def test_positions_are_the_original_s(golden):
    for case in golden.cases:
        ours = qwen_golden.batch(golden, [case]).positions
        np.testing.assert_array_equal(
            np.where(case["mask"], ours, 0), case["positions"], err_msg=case["name"]
        )


def test_logits_are_the_original_s(golden):
    cases = having(golden, "logits")
    ours = logits_of(golden.backbone, golden.variables, qwen_golden.batch(golden, cases))
    width = qwen_golden.longest(cases)
    seen, want = joined(cases, "mask", width), joined(cases, "logits", width)
    scale = np.abs(want[seen]).max()
    np.testing.assert_allclose(ours[seen], want[seen], atol=1e-4 * scale, rtol=0)


def test_greedy_continuations_are_the_original_s_through_our_sampler(golden):
    backbone, variables = golden.backbone, golden.variables
    free = backbone.grammar._replace(is_text=jnp.ones(backbone.c.vocab, bool), eos=())
    cases = having(golden, "greedy")
    want = np.concatenate([case["greedy"] for case in cases])
    batch = jax.jit(backbone.prepare)(variables, qwen_golden.batch(golden, cases))
    rollout = sample(
        backbone, variables, free, batch, row_keys(jax.random.key(0), jnp.arange(len(want))),
        SampleStatic(Sampling(greedy=True), want.shape[1]),
    )  # fmt: skip
    np.testing.assert_array_equal(rollout.tokens[:, 0], want)


# --- images ----------------------------------------------------------------------------------

NUCLEUS = Sampling(temperature=0.7, top_p=0.9)
LENGTH = 10


def photo(h, w, seed):
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


TWO = Example("two", ("w4 ", photo(60, 90, 0), "w5 ", photo(110, 56, 1), "w6"), "")
ONE = Example("one", (photo(56, 56, 2), "w7 w8 w9"), "")
WIDE = {"side": "right", "more": 5, "slots": 11}
NONE = Example("none", ("w10 w11",), "")


@pytest.fixture(scope="module")
def prompts(qwen):
    """Two images of different size, one, none: left-padded, prepared."""
    rows = [qwen.backbone.renderer.prompt(e) for e in (TWO, ONE, NONE)]
    batch = padded(rows)
    assert not batch.valid[2, :10].any()
    return jax.jit(qwen.backbone.prepare)(qwen.variables, batch)


def padded(rows, side="left", more=0, slots=None):
    length = max(len(row.tokens) for row in rows) + more
    shape = (4, 28, 28, 3)
    batch = data.pad(rows, length, side, image_slots=slots, image_shape=shape)
    return jax.tree.map(jnp.asarray, batch)


def run(backbone, variables, batch, dropout=None):
    batch = backbone.prepare(variables, batch)
    return backbone.unembed(variables, backbone(variables, batch, dropout=dropout)[0])


@pytest.fixture(scope="module")
def forward(qwen):
    return partial(jax.jit(run, static_argnums=0), qwen.backbone)


def test_its_grammar_is_text(qwen):
    g = qwen.backbone.grammar
    assert (g.boi, g.eoi, g.eos, g.image_len) == (-1, -1, (60, 61), 0)
    assert np.flatnonzero(g.is_text).tolist() == list(range(56))
    assert not g.is_image.any()


def test_padding_of_windows_changes_nothing(qwen, forward):
    rows = [row_of(qwen, e) for e in (TWO, ONE, NONE)]
    wide = padded(rows, **WIDE)
    right = forward(qwen.variables, wide)
    unused = wide.pixels.at[..., :1, None, None] < 0
    loud = jnp.where(unused, 200, wide.pixels.cells).astype(jnp.uint8)
    pixels = wide.pixels._replace(cells=loud)
    noisy = forward(qwen.variables, wide._replace(pixels=pixels))
    np.testing.assert_array_equal(noisy[wide.valid], right[wide.valid])


def test_an_image_is_seen_by_its_content_and_its_place(qwen, forward):
    render = qwen.backbone.renderer.prompt
    row = render(TWO)
    other = render(TWO._replace(prompt=(*TWO.prompt[:3], photo(110, 56, 3), "w6")))
    line = np.arange(len(row.tokens), dtype=np.int32)[None].repeat(3, 0)
    rows = [row, other, row._replace(positions=line)]
    here, there, flat = (
        x[: len(row.tokens)] for x in forward(qwen.variables, padded(rows, **WIDE))
    )
    second = int(np.flatnonzero(row.windows.source >= 0)[6])
    assert row.windows.source[second - 1] == -1  # the second image begins
    np.testing.assert_allclose(here[:second], there[:second], atol=1e-5)
    assert float(jnp.abs(here - there)[-1].max()) > 0.01
    assert float(jnp.abs(here - flat)[-1].max()) > 0.01


def draw(qwen, prompts, g, keys):
    return sample(
        qwen.backbone, qwen.variables, qwen.backbone.grammar, prompts, keys,
        SampleStatic(NUCLEUS, LENGTH, num_generations=g),
    )  # fmt: skip


@pytest.fixture(scope="module")
def rollout(qwen, prompts):
    return draw(qwen, prompts, 2, row_keys(jax.random.key(5), jnp.arange(6)))


def blind(variables):
    """Without the tower: what reads an image again would fail."""
    decoder = {"decoder": variables["params"]["decoder"]}
    return {name: tree if name != "params" else decoder for name, tree in variables.items()}


@partial(jax.jit, static_argnums=0)
def rescored(backbone, variables, rollout):
    return score_rollout(backbone, variables, backbone.grammar, rollout, NUCLEUS, 4)


def test_without_the_images_the_loss_would_be_off(qwen, rollout):
    prompt = rollout.prompt._replace(embeds=jnp.zeros_like(rollout.prompt.embeds))
    policy = rescored(qwen.backbone, blind(qwen.variables), rollout._replace(prompt=prompt))
    off = np.abs(policy.logps - rollout.logps).max(axis=(1, 2))
    assert off[:2].max() > 0.01  # rows with images
    assert off[2:].max() < 1e-5


def test_a_group_shares_its_prompts_features(rollout, prompts):
    np.testing.assert_array_equal(rollout.prompt.embeds, prompts.embeds)
    assert rollout.prompt.pixels is None
    assert concat_prompt_completions(rollout).embeds.shape[1] == prompts.tokens.shape[1]


def test_replies_go_on_after_the_largest_position_and_hold_words_only(qwen, rollout):
    out, t = jax.tree.map(np.asarray, rollout), rollout.prompt.tokens.shape[1]
    after = np.asarray(concat_prompt_completions(rollout).positions)[:, :, t]
    largest = np.where(out.prompt.valid, out.prompt.positions, -1).max(axis=(0, 2))
    np.testing.assert_array_equal(after, np.broadcast_to(largest + 1, (3, 3)))
    assert (largest[:2] + 1 < out.prompt.valid.sum(axis=1)[:2]).all()  # fewer than its tokens
    written = out.tokens[out.valid]
    assert set(written.tolist()) <= {*range(56), 60, 61}


def test_the_tower_learns_nothing_and_the_words_do(qwen):
    backbone, words = qwen.backbone, Batch(*padded([row_of(qwen, ONE)])[:4])
    seen = padded([row_of(qwen, ONE)])

    def into_tower(variables):
        return jnp.sum(backbone.prepare(variables, seen).embeds ** 2)

    def into_words(table):
        decoder = qwen.variables["params"]["decoder"] | {"embed": table}
        variables = {"params": {"decoder": decoder}}
        embeds = jnp.ones((*words.tokens.shape, 32))
        return jnp.sum(backbone.fill_embeds(variables, words._replace(embeds=embeds)).embeds)

    tower = jax.jit(jax.grad(into_tower))(qwen.variables)["params"]["vision"]
    assert not any(x.any() for x in jax.tree.leaves(tower))
    table = qwen.variables["params"]["decoder"]["embed"]
    learned = jax.grad(into_words)(table)["embedding"].any(axis=1)
    present = set(np.asarray(words.tokens).ravel().tolist())
    assert set(np.flatnonzero(learned).tolist()) == present - {56}  # all but placeholders


def row_of(qwen, example):
    return qwen.backbone.renderer.prompt(example)


def test_micro_batches_cut_windows_and_features_by_their_rows(qwen, rollout):
    rows = [row_of(qwen, e) for e in (TWO, ONE, NONE, ONE)]
    parts = split_microbatches(padded(rows), 2)
    assert parts.pixels.cells.shape[:2] == (2, 2)
    np.testing.assert_array_equal(parts.pixels.source[1, 1], padded(rows).pixels.source[3])
    static = steps.GrpoStatic(
        qwen.backbone, optax.sgd(0.1), "lora", Objective(), NUCLEUS, micro_batches=2, chunk=4
    )
    rollout = steps.regroup(rollout, 1)  # six rows
    again = steps.rollout_logps(blind(qwen.variables), rollout, qwen.backbone.grammar, static)
    np.testing.assert_allclose(again, rollout.logps, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 2, 2), (1, 1, 8)])
def test_features_do_not_depend_on_the_mesh(qwen, shape):
    mesh = meshes.make(*shape)
    tall = photo(280, 120, 4)  # 10 x 4 cells: more windows than are looked at at once
    rows = [row_of(qwen, e) for e in (TWO, ONE, NONE, NONE._replace(prompt=(tall, "w1")))]
    batch = data.pad(rows, 60, "left")
    alone = jax.jit(qwen.backbone.prepare)(qwen.variables, jax.tree.map(jnp.asarray, batch))
    placed = jax.device_put(qwen.variables, meshes.shardings(qwen.variables, mesh))
    shared = meshes.put(batch, mesh, row_axes(batch))
    with meshes.no_implicit_transfers(mesh):
        out = jax.jit(qwen.backbone.prepare)(placed, shared)
    np.testing.assert_allclose(meshes.get(out.embeds), alone.embeds, atol=2e-5)


def test_what_it_cannot_do_it_refuses(qwen):
    images = jnp.zeros((1, 28, 28, 3), jnp.uint8)
    with pytest.raises(ValueError, match=r"Qwen25VL has no ids for images; give rows of its own"):
        qwen.backbone.tokenize(qwen.variables, images)
    with pytest.raises(ValueError, match=r"Qwen25VL makes no images; do not request pixels of it"):
        qwen.backbone.paint(qwen.variables, jnp.zeros((1, 4), jnp.int32))
