"""The SFT step on the tiny Chameleon: what is learned, how it adds up, what moves."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmcot_jax import data
from mmcot_jax import mesh as meshes
from mmcot_jax.example import Example, Picture
from mmcot_jax.train.accumulate import accumulate
from mmcot_jax.train.optim import join, optimizer, schedule, split
from mmcot_jax.train.step import SftStatic, sft_step, sft_sums, start, update
from mmcot_jax.types import Batch, row_axes

B, T, EOS = 8, 12, 2
SETTINGS = {
    "learning_rate": 1.0,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "optim": "adamw",
    "adam_epsilon": 1e-8,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
}
SGD = optax.sgd(0.1)


@pytest.fixture(scope="module")
def rows():
    """Row b learns b + 1 tokens, codes and words, and ends in pads."""
    random = np.random.default_rng(0)
    tokens = random.integers(4, 28, (B, T)).astype(np.int32)
    valid = np.broadcast_to(np.arange(T) < T - 2, (B, T)).copy()
    learned = valid & (np.arange(T) >= T - 3 - np.arange(B)[:, None])
    positions = np.broadcast_to(np.arange(T, dtype=np.int32), (1, B, T)).copy()
    return Batch(tokens, positions, valid, learned)


@pytest.fixture(scope="module")
def step(chameleon):
    """One update with plain gradient descent: (trained, metrics)."""

    def run(batch, what="lora", parts=1, key=0, dropout=False, backbone=None, variables=None,
            image_weight=1.0):  # fmt: skip
        trained, frozen = split(variables or chameleon.variables, what)
        state = start(jax.tree.map(jnp.copy, trained), SGD)  # the step donates it
        state, metrics = sft_step(
            state, frozen, jax.tree.map(jnp.asarray, batch), chameleon.backbone.grammar,
            jax.random.key(key),
            SftStatic(
                backbone or chameleon.backbone, SGD, what=what, micro_batches=parts,
                dropout=dropout, chunk=4, image_weight=image_weight,
            ),
        )  # fmt: skip
        assert int(state.step) == 1
        return jax.tree.map(np.asarray, (state.trained, metrics))

    return run


def close(a, b, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=1e-5), a, b)


def test_the_loss_is_the_mean_over_learned_tokens_of_all_rows(chameleon, rows, step):
    backbone, variables = chameleon
    given = jax.tree.map(jnp.asarray, rows)
    logits = jax.jit(lambda v, b: backbone.unembed(v, backbone(v, b)[0]))(variables, given)[:, :-1]
    logps = np.asarray(jax.nn.log_softmax(logits))
    picked = np.take_along_axis(logps, rows.tokens[:, 1:, None], -1)[..., 0]
    mask = rows.loss[:, 1:]
    image = mask & (rows.tokens[:, 1:] < 16)
    _, metrics = step(rows)
    assert metrics["learned_tokens"] == 36  # 1 + 2 + ... + 8
    assert metrics["num_tokens"] == 80
    expected = {
        "loss": -picked[mask].mean(),
        "loss_image": -picked[image].mean(),
        "loss_text": -picked[mask & ~image].mean(),
        "mean_token_accuracy": (logps.argmax(-1) == rows.tokens[:, 1:])[mask].mean(),
    }
    close({name: metrics[name] for name in expected}, expected)


@pytest.mark.parametrize("parts", [2, 4])
def test_gradient_accumulation_changes_nothing(rows, step, parts):
    close(step(rows, parts=parts), step(rows))


def test_row_b_goes_to_part_b_mod_parts(rows):
    def first_tokens(trained, part, key):
        number = jnp.sum(part.tokens[:, 0] * part.positions[0, :, 1])
        return trained * 0.0, {"sum": number, "rows": jnp.int32(part.tokens.shape[0])}

    given = jax.tree.map(jnp.asarray, rows)
    _, sums = accumulate(first_tokens, jnp.float32(1), given, jax.random.key(0), 4)
    assert sums["sum"] == rows.tokens[:, 0].sum()
    assert sums["rows"] == 8


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "parts"), [((2, 2, 2), 2), ((8, 1, 1), 1)])
def test_meshes_change_nothing(chameleon, rows, step, shape, parts):
    expected = step(rows, what="all")
    mesh = meshes.make(*shape)
    variables = jax.device_put(chameleon.variables, meshes.shardings(chameleon.variables, mesh))
    trained, frozen = split({"params": variables["params"]}, "all")
    state = start(jax.tree.map(jnp.copy, trained), SGD)
    with jax.set_mesh(mesh):
        state, metrics = sft_step(
            state, frozen, meshes.put(rows, mesh, row_axes(rows)), chameleon.backbone.grammar,
            jax.random.key(0), SftStatic(chameleon.backbone, SGD, "all", parts, False, chunk=4),
        )  # fmt: skip
    close(jax.tree.map(np.asarray, (state.trained, metrics)), expected)
    kernel = state.trained["layers"]["attention"]["q"]["kernel"]
    axes = (None, "fsdp", "tensor")
    assert kernel.sharding.is_equivalent_to(jax.NamedSharding(mesh, jax.P(*axes)), kernel.ndim)


def test_an_image_token_counts_as_image_weight_tokens_of_text(chameleon, rows, step):
    _, plain = step(rows)
    s = sums(chameleon, rows)
    text, words = s.nll - s.image_nll, s.count - s.image_count
    both = (text + s.image_nll / 2) / (words + s.image_count / 2)
    for weight, expected in ((0.0, text / words), (0.5, both)):
        _, metrics = step(rows, image_weight=weight)
        np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)
        np.testing.assert_allclose(metrics["loss_image"], plain["loss_image"], rtol=1e-6)


SUMS = jax.jit(sft_sums, static_argnames=("backbone", "chunk"))


def sums(chameleon, batch):
    backbone, variables = chameleon
    given = jax.tree.map(jnp.asarray, batch)
    out = SUMS(backbone, backbone.grammar, variables, given, dropout=None, chunk=64)
    return jax.tree.map(float, out)


def test_the_end_is_learned_and_pads_are_not(chameleon):
    picture = Picture(np.array([5, 6, 7, 8], np.int32))
    renderer = chameleon.backbone.renderer
    chains = [("ab", picture, "c"), ("d",)]
    examples = [Example(str(i), ("abc",), "", chain) for i, chain in enumerate(chains)]
    supervised = [renderer.supervise(e) for e in examples]
    batch = data.pad(supervised, 16, "right")
    out = sums(chameleon, batch)
    # a b BOI 5 6 7 8 EOI c EOS, and d EOS
    assert (out.count, out.image_count) == (12, 4)
    pads = batch._replace(tokens=np.where(batch.valid, batch.tokens, 27).astype(np.int32))
    assert sums(chameleon, pads).nll == pytest.approx(out.nll, rel=1e-6)
    no_end = np.where(batch.tokens == EOS, 20, batch.tokens).astype(np.int32)
    assert sums(chameleon, batch._replace(tokens=no_end)).nll != pytest.approx(out.nll, rel=1e-3)
    left = data.pad(supervised, 16, "left")
    assert sums(chameleon, left).nll == pytest.approx(out.nll, rel=1e-5)


def test_the_first_token_of_a_row_is_nothings_target(chameleon, rows):
    everything = rows._replace(loss=np.ones_like(rows.loss))
    assert sums(chameleon, everything).count == B * (T - 3)  # two pads and the first token


def test_a_batch_with_nothing_to_learn_has_loss_zero_and_moves_nothing(chameleon, rows, step):
    trained, metrics = step(rows._replace(loss=np.zeros_like(rows.loss)))
    assert metrics["loss"] == metrics["grad_norm"] == 0
    close(trained, chameleon.variables["lora"], atol=0)


def test_training_adapters_leaves_the_base_and_training_all_leaves_the_vqgan(chameleon, rows, step):
    adapters, _ = step(rows)
    assert set(adapters) == {"decoder"}
    decoder, _ = step(rows, what="all")
    moved = jax.tree.map(
        lambda new, old: float(np.abs(new - old).max()) > 0,
        decoder, chameleon.variables["params"]["decoder"],
    )  # fmt: skip
    assert all(jax.tree.leaves(moved))
    _, frozen = split(chameleon.variables, "all")
    whole = join(decoder, frozen, "all")
    assert whole["params"]["vqgan"] is chameleon.variables["params"]["vqgan"]
    assert whole["params"]["decoder"] is decoder


@pytest.mark.parametrize("what", ["lora", "all"])
def test_join_is_split_backwards(chameleon, what):
    variables = chameleon.variables
    if what == "all":
        variables = {"params": variables["params"]}
    back = join(*split(variables, what), what)
    assert jax.tree.structure(back) == jax.tree.structure(variables)
    assert all(a is b for a, b in zip(*map(jax.tree.leaves, (back, variables)), strict=True))


def test_dropout_is_drawn_anew_for_each_key(chameleon, rows, step):
    lora = chameleon.backbone.c.lora._replace(dropout=0.5)
    dropping = chameleon.variant(lora=lora)
    losses = [
        float(step(rows, key=key, dropout=True, backbone=dropping)[1]["loss"]) for key in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("kind", "warm", "expected"),
    [
        ("constant", 0, [4, 4, 4, 4, 4]),
        ("constant_with_warmup", 2, [0, 2, 4, 4, 4]),
        ("constant_with_warmup", 0.3, [0, 2, 4, 4, 4]),
        ("linear", 0, [4, 3, 2, 1, 0]),
        ("linear", 2, [0, 2, 4, 2, 0]),
        ("cosine", 0, [4, 3.414214, 2, 0.585786, 0]),
        ("cosine", 2, [0, 2, 4, 2, 0]),
    ],
)
def test_schedules_by_written_out_values(kind, warm, expected):
    c = SETTINGS | {"learning_rate": 4.0, "lr_scheduler_type": kind, "warmup_steps": warm}
    rate = schedule(c, steps=4)
    np.testing.assert_allclose([rate(i) for i in range(5)], expected, atol=1e-6)


def test_gradients_are_clipped_to_the_norm_and_reported_before():
    plain = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0))
    state = start({"w": jnp.zeros(2)}, plain)
    state, norm = update(state, {"w": jnp.array([3.0, 4.0])}, plain)
    assert float(norm) == 5.0
    np.testing.assert_allclose(state.trained["w"], [-0.6, -0.8], rtol=1e-6)


@pytest.mark.parametrize("size", [10.0, 1e3])
def test_the_optimizer_clips_before_adam_sees_the_gradient(size):
    # Adam's second step tells sizes apart; clipped, gradients of 10 and of 1000 are the same
    tx = optimizer(SETTINGS, steps=10)
    state = start({"w": jnp.zeros(1)}, tx)
    for gradient in (size, 0.1):
        state, _ = update(state, {"w": jnp.array([gradient])}, tx)
    # m = 0.1 * 1 * 0.9 + 0.1 * 0.1, over 0.19; v = 0.001 * 0.999 + 0.001 * 0.01, over 0.001999
    second = (0.1 / 0.19) / np.sqrt((0.000999 + 0.00001) / 0.001999)
    np.testing.assert_allclose(state.trained["w"], [-1 - second], rtol=1e-4)


def test_decay_pulls_weights_to_zero():
    tx = optimizer(SETTINGS | {"weight_decay": 0.1, "learning_rate": 0.5}, steps=10)
    state, _ = update(start({"w": jnp.array([2.0])}, tx), {"w": jnp.zeros(1)}, tx)
    np.testing.assert_allclose(state.trained["w"], [2.0 - 0.5 * 0.1 * 2.0], rtol=1e-6)


@pytest.mark.slow
def test_float32_weights_of_bfloat16_activations_take_small_updates(chameleon, rows):
    backbone = chameleon.variant(dtype="bfloat16", lora=None)
    tx = optimizer(SETTINGS | {"learning_rate": 1e-5}, steps=10)
    before, frozen = split({"params": chameleon.variables["params"]}, "all")
    state = start(jax.tree.map(jnp.copy, before), tx)
    given = jax.tree.map(jnp.asarray, rows)
    hidden, _ = jax.eval_shape(backbone, {"params": {"decoder": before}}, given)
    assert hidden.dtype == jnp.bfloat16
    static = SftStatic(backbone, tx, what="all", micro_batches=1, dropout=False, chunk=4)
    grammar = chameleon.backbone.grammar
    state, _ = sft_step(state, frozen, given, grammar, jax.random.key(0), static)
    # rounded to bfloat16, nearly all would be as they were
    old, new = (
        before["layers"]["mlp"]["up"]["kernel"],
        state.trained["layers"]["mlp"]["up"]["kernel"],
    )
    assert (old == new).mean() < 0.05
    assert (old.astype(jnp.bfloat16) == new.astype(jnp.bfloat16)).mean() > 0.9


def test_what_is_refused(chameleon):
    with pytest.raises(ValueError, match=r"what is 'head'; choose from lora, all"):
        split(chameleon.variables, "head")
    with pytest.raises(ValueError, match=r"'lora' and the model has no adapters; set model.lora"):
        split({"params": chameleon.variables["params"]}, "lora")
    with pytest.raises(ValueError, match="is 'step'; choose from constant, constant_with_warmup"):
        schedule(SETTINGS | {"lr_scheduler_type": "step"}, 10)
