import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax import mesh as meshes
from mmcot_jax.nn import attention
from mmcot_jax.nn.attention import (
    attend,
    attend_fused,
    attend_in_parts,
    attend_rows_in_parts,
    attend_shared,
    attend_shared_some,
    causal,
)


def test_a_query_sees_its_own_slot_and_real_ones_before_it():
    # [pad a b c]
    rows = causal(jnp.array([[False, True, True, True]]), 0, 4)[0].astype(int)
    assert rows.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 1]]


def test_queries_may_begin_at_a_later_slot():
    rows = causal(jnp.array([[False, True, True, True, True]]), 2, 2)[0].astype(int)
    assert rows.tolist() == [[0, 1, 1, 0, 0], [0, 1, 1, 1, 0]]


def random(*shape):
    return jnp.asarray(np.random.default_rng(len(shape) + shape[1]).normal(size=shape), jnp.float32)


def test_it_is_the_softmax_of_scaled_products():
    # scores 2 / sqrt(4) = 1 and 0: weights e / (e + 1) and 1 / (e + 1)
    q = jnp.array([2.0, 0, 0, 0]).reshape(1, 1, 1, 4)
    k = jnp.array([[1.0, 0, 0, 0], [0, 1, 0, 0]]).reshape(1, 1, 2, 4)
    v = jnp.array([[1.0, 0, 0, 0], [0, 1, 0, 0]]).reshape(1, 1, 2, 4)
    y = attend(q, k, v, jnp.ones((1, 1, 2), bool))
    np.testing.assert_allclose(y.ravel(), [np.e / (np.e + 1), 1 / (np.e + 1), 0, 0], rtol=1e-6)


def test_grouped_heads_are_repeated_heads():
    q, k, v = random(2, 5, 6, 4), random(2, 2, 7, 4), random(2, 2, 7, 4)
    mask = causal(jnp.ones((2, 7), bool), 2, 5)
    repeated = attend(q, jnp.repeat(k, 3, axis=1), jnp.repeat(v, 3, axis=1), mask)
    np.testing.assert_allclose(attend(q, k, v, mask), repeated, atol=1e-6)


def test_what_is_masked_is_not_read():
    q, k, v = random(1, 2, 1, 4), random(1, 1, 3, 4), random(1, 1, 3, 4)
    mask = jnp.array([[[True, True, False], [True, True, False]]])
    other = attend(q, k.at[:, :, 2].set(1e3), v.at[:, :, 2].set(1e3), mask)
    np.testing.assert_array_equal(attend(q, k, v, mask), other)


def test_a_query_that_sees_nothing_is_finite_and_so_is_its_gradient():
    q, k, v = random(1, 2, 1, 4), random(1, 1, 2, 4), random(1, 1, 2, 4)
    mask = jnp.array([[[False, False], [True, False]]])
    y = attend(q, k, v, mask)
    np.testing.assert_allclose(y[0, 0], v[0].mean(axis=1), rtol=1e-5)
    gradients = jax.grad(lambda *x: attend(*x, mask).sum(), (0, 1, 2))(q, k, v)
    assert all(np.isfinite(np.asarray(g)).all() for g in gradients)


def test_large_scores_do_not_overflow():
    q, k, v = 1e4 * random(1, 3, 1, 4), 1e4 * random(1, 1, 3, 4), random(1, 1, 3, 4)
    assert np.isfinite(np.asarray(attend(q, k, v, jnp.ones((1, 3, 3), bool)))).all()


def test_a_long_prompt_is_attended_to_part_by_part(monkeypatch):
    """Five queries from slot 2 on, of a cache of seven; two, two and one at a time."""
    q, k, v = random(2, 5, 6, 4), random(2, 2, 7, 4), random(2, 2, 7, 4)
    valid = jnp.arange(7) >= jnp.array([[0], [3]])
    monkeypatch.setattr(attention, "BLOCK", 2)

    def both(attention):
        return jax.value_and_grad(lambda *x: jnp.sum(attention(*x) ** 2), (0, 1, 2))(q, k, v)

    whole = both(lambda *x: attend(*x, causal(valid, 2, 5)))
    for a, b in zip(
        jax.tree.leaves(both(lambda *x: attend_in_parts(*x, valid, jnp.int32(2)))),
        jax.tree.leaves(whole),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("queries", [1, 3])
def test_a_shared_prompt_is_the_same_attention_as_one_of_its_own(queries):
    n, g, p, w = 2, 3, 5, 4
    q = random(n, g, queries, 4, 8)
    prompt_k, prompt_v = random(n, 2, p, 8), random(n, 2, p, 8) + 1
    k, v = random(n, g, 2, w, 8), random(n, g, 2, w, 8) - 1
    valid = jnp.arange(p) >= jnp.array([[0], [2]])
    mask = jnp.broadcast_to(jnp.arange(w) <= jnp.arange(queries)[:, None], (n, g, queries, w))

    def alone(q, prompt_k, prompt_v, k, v):
        rows = lambda x: x.reshape(n * g, *x.shape[2:])  # noqa: E731
        keys, values = (
            jnp.concatenate([jnp.repeat(shared, g, axis=0), rows(own)], axis=2)
            for shared, own in ((prompt_k, k), (prompt_v, v))
        )
        prompts = jnp.repeat(valid, g, axis=0)[:, None]
        prompts = jnp.broadcast_to(prompts, (n * g, queries, p))
        y = attend(rows(q), keys, values, jnp.concatenate([prompts, rows(mask)], axis=2))
        return y.reshape(q.shape)

    def shared(q, prompt_k, prompt_v, k, v):
        return attend_shared(q, prompt_k, prompt_v, valid, k, v, mask)

    given = (q, prompt_k, prompt_v, k, v)
    np.testing.assert_allclose(shared(*given), alone(*given), atol=1e-6)

    def gradients(f):
        return jax.grad(lambda *x: jnp.sum(f(*x) ** 2), range(5))(*given)

    for x, y in zip(gradients(shared), gradients(alone), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


def test_some_rows_in_any_order_attend_as_all_do():
    """Four groups of three on two shards; the first four rows of each, in an order of its own."""
    n, g, p, w, shards, some = 4, 3, 5, 6, 2, 4
    q, k, v = random(n, g, 1, 4, 8), random(n, g, 2, w, 8), random(n, g, 2, w, 8)
    prompt = random(n, 2, p, 8), random(n, 2, p, 8), jnp.arange(p) >= jnp.arange(n)[:, None]
    mask = jnp.arange(w) <= jnp.arange(n * g).reshape(n, g, 1, 1) % w
    rows = jnp.array([[5, 0, 3, 1, 2, 4], [2, 4, 5, 0, 1, 3]])

    def of(x):
        index = rows[:, :some].reshape(shards, some, *[1] * (x.ndim - 2))
        return jnp.take_along_axis(x.reshape(shards, -1, *x.shape[2:]), index, axis=1)

    expected = of(attend_shared(q, *prompt, k, v, mask))
    ours = attend_shared_some(of(q), *prompt, of(k), of(v), of(mask), rows)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("meshed", "shared"), [(False, False), (True, False), (True, True)])
def test_the_fused_kernel_is_the_same_attention_and_has_the_same_gradient(meshed, shared):
    # two rows, 150 tokens (padded to 256), four heads on two, the second row's first 40 padding
    q, k, v = random(2, 150, 4, 128), random(2, 2, 150, 128), random(2, 2, 150, 128)
    valid = jnp.arange(150)[None] >= jnp.array([[0], [40]])
    completions = None
    if shared:  # a prompt of 60 and three completions of 30, of which some end earlier
        lengths = jnp.array([[30, 7, 1], [12, 30, 25]])
        completions = jnp.arange(30) < lengths[..., None]
        valid = jnp.concatenate([valid[:, :60], completions.reshape(2, 90)], axis=1)

    def plain(q, k, v):
        if completions is None:
            return attend(q, k, v, causal(valid, 0, 150))
        return attend_rows_in_parts(q, k, v, valid, completions)

    def fused(q, k, v):
        return attend_fused(q, k, v, valid, completions, kernel="splash", interpret=True)

    def of_words(attention, *given):
        y = jnp.where(valid[..., None, None], attention(*given), 0)
        return jnp.sum(jnp.sin(y)), y

    def both(attention):
        grad = jax.grad(lambda *given: of_words(attention, *given), (0, 1, 2), has_aux=True)
        return jax.jit(grad)(q, k, v)

    wanted = both(plain)
    if meshed:
        with jax.set_mesh(meshes.make(1, 2, 2, devices=jax.devices()[:4])):
            got = both(fused)
    else:
        got = both(fused)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=2e-5)


@pytest.mark.parametrize("block", [4, 7, 16])
def test_rows_that_share_a_prompt_are_attended_to_part_by_part(monkeypatch, block):
    """Three completions of ten tokens after a prompt of six: in blocks as at once."""
    q, k, v = random(2, 36, 4, 8), random(2, 2, 36, 8), random(2, 2, 36, 8)
    completions = jnp.arange(10) < jnp.array([[10, 3, 8], [1, 10, 10]])[..., None]
    prompts = jnp.arange(6)[None] >= jnp.array([[0], [2]])
    valid = jnp.concatenate([prompts, completions.reshape(2, -1)], axis=1)

    def total(*given):
        y = attend_rows_in_parts(*given, valid, completions)
        return jnp.sum(y**2 * valid[..., None, None])

    def both():
        return jax.value_and_grad(total, (0, 1, 2))(q, k, v)

    whole = both()
    monkeypatch.setattr(attention, "BLOCK", block)
    monkeypatch.setattr(attention, "SCORES", 0)
    for a, b in zip(jax.tree.leaves(both()), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_the_base_class_of_the_kernels_mask_is_as_expected():
    """It is private in jax: a change of its rules shows here."""
    from mmcot_jax.nn.splash import SharedPromptMask

    # two prompt tokens, three completions of two, and padding
    mask = SharedPromptMask(9, prompt=2, completion=2, count=3)
    drawn = ["".join(".x"[int(x)] for x in row) for row in np.asarray(mask[0:9, 0:9])]
    assert drawn[:8] == [
        "x........", "xx.......",
        "xxx......", "xxxx.....",
        "xx..x....", "xx..xx...",
        "xx....x..", "xx....xx.",
    ]  # fmt: skip
    assert mask == SharedPromptMask(9, 2, 2, 3) != SharedPromptMask(9, 3, 2, 3)
    assert hash(mask) == hash(SharedPromptMask(9, 2, 2, 3))


@pytest.mark.parametrize(
    ("platform", "channels", "dtype", "expected"),
    [
        ("tpu", 128, "bfloat16", "splash"),
        ("tpu", 256, "float32", "splash"),
        ("tpu", 80, "bfloat16", "parts"),  # no whole lanes
        ("gpu", 128, "bfloat16", "cudnn"),
        ("gpu", 8, "float16", "cudnn"),
        ("gpu", 128, "float32", "parts"),  # cuDNN takes half precision only
        ("gpu", 136, "bfloat16", "parts"),  # before Hopper, 128 channels at most
        ("gpu", 12, "bfloat16", "parts"),
        ("cpu", 128, "bfloat16", "parts"),
    ],
)
def test_platform_channels_and_dtype_choose_the_implementation(
    monkeypatch, platform, channels, dtype, expected
):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    assert attention.implementation(channels, dtype) == expected


@pytest.mark.parametrize(
    ("capability", "expected"),
    [("7.5", "parts"), ("8.0", "cudnn"), ("10.0", "cudnn"), ("gfx942", "parts")],
)
def test_a_gpu_without_flash_attention_computes_in_parts(monkeypatch, capability, expected):
    """A T4; an A100; a B200; one of AMD's."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    device = types.SimpleNamespace(compute_capability=capability)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert attention.implementation(128, "bfloat16") == expected
