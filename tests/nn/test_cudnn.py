import re
import types
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from mmcot_jax import mesh as meshes
from mmcot_jax.nn.attention import attend, attend_fused, attend_rows, attend_rows_in_parts, causal
from mmcot_jax.nn.cudnn import attend_contiguous, join, roll, separate

ROWS = np.array([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 1, 0], [0] * 6], bool)
"""All tokens, three between padding, one, none."""


def test_rows_are_rolled_so_that_they_begin_on_the_left():
    x = jnp.array([[0, 0, 1, 2, 3], [1, 2, 3, 0, 0]])
    assert roll(x, jnp.array([[2], [0]])).tolist() == [[1, 2, 3, 0, 0], [1, 2, 3, 0, 0]]
    assert roll(roll(x, jnp.array([[2], [1]])), jnp.array([[-2], [-1]])).tolist() == x.tolist()


def test_a_prompt_is_repeated_before_each_completion_and_back():
    x = jnp.array([[1, 2, 30, 31, 32, 40, 41, 42], [5, 6, 70, 71, 72, 80, 81, 82]])
    rows = separate(x, 2, 3, 2)
    assert rows.tolist() == [
        [1, 2, 30, 31, 32], [1, 2, 40, 41, 42], [5, 6, 70, 71, 72], [5, 6, 80, 81, 82],
    ]  # fmt: skip
    assert join(rows, 2, 3, 2).tolist() == x.tolist()


def random(*shape, dtype=jnp.float32):
    values = np.random.default_rng(len(shape) + shape[1]).normal(size=shape)
    return jnp.asarray(values, jnp.float32).astype(dtype)


def values_and_gradients(attention, valid, given):
    """The output where valid, and gradients of a sum that only valid queries are in."""

    def of_words(*given):
        y = jnp.where(valid[..., None, None], attention(*given), 0).astype(jnp.float32)
        return jnp.sum(jnp.sin(y)), y

    return jax.jit(jax.grad(of_words, (0, 1, 2), has_aux=True))(*given)


def lengths(t):
    """Rows of `t` tokens: all, between padding, left-padded, one token, none."""
    at = np.arange(t)
    begin, end = np.array([[0], [t // 4], [t // 3], [t // 2], [0]]), np.array([[t], [t // 2], [t]])
    end = np.concatenate([end, [[t // 2 + 1], [0]]])
    return jnp.asarray((at >= begin) & (at < end))


def group(p, t):
    """Two rows of three completions: a left-padded prompt; completions of all lengths, 0 too."""
    written = np.arange(t) < np.array([[t, 1, t // 2], [0, t // 3, t]])[..., None]
    prompts = np.arange(p) >= np.array([[0], [p // 3]])
    valid = np.concatenate([prompts, written.reshape(2, -1)], axis=1)
    return jnp.asarray(valid), jnp.asarray(written)


def plain(valid, completions):
    if completions is None:
        return lambda q, k, v: attend(q, k, v, causal(valid, 0, valid.shape[1]))
    return lambda q, k, v: attend_rows_in_parts(q, k, v, valid, completions)


def qkv(valid, heads, kv_heads, channels, dtype=jnp.float32):
    b, t = valid.shape
    q = random(b, t, heads, channels, dtype=dtype)
    return q, *(random(b, kv_heads, t, channels, dtype=dtype) * x for x in (1, -2))


@pytest.mark.parametrize("shared", [False, True])
def test_contiguous_rows_are_the_same_attention_with_the_same_gradient(shared):
    """jax's plain function stands for cuDNN's: rolls, lengths and separate rows are tested."""
    valid, completions = group(30, 20) if shared else (lengths(90), None)
    given = qkv(valid, 4, 2, 8)

    def ours(q, k, v):
        return attend_fused(q, k, v, valid, completions, kernel="cudnn", interpret=True)

    wanted = values_and_gradients(plain(valid, completions), valid, given)
    got = values_and_gradients(ours, valid, given)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, atol=3e-5)


def test_padding_is_0_and_has_no_gradient_whatever_is_there():
    valid = jnp.asarray(ROWS)
    words = valid[..., None, None]
    given = [jnp.where(words, random(4, 6, 2, 8), noise) for noise in (jnp.nan, jnp.nan, jnp.inf)]

    def total(*given):
        y = attend_contiguous(*given, valid, interpret=True)
        return jnp.sum(jnp.sin(y)), y

    gradients, y = jax.grad(total, (0, 1, 2), has_aux=True)(*given)
    for x in (y, *gradients):
        assert not np.asarray(x)[~ROWS].any()
        assert np.isfinite(np.asarray(x)).all()


@pytest.fixture
def cudnn(monkeypatch):
    """Programs can be lowered for a GPU that is not here: only cuDNN's version is read."""
    if fused_attention_stablehlo.cuda_versions is None:
        versions = types.SimpleNamespace(cudnn_get_version=lambda: 91000)
        monkeypatch.setattr(fused_attention_stablehlo, "cuda_versions", versions)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def lowered(attention, valid, completions, given) -> str:
    """The program, for CUDA, of attention's output and gradients."""

    def total(*given):
        y = attention(*given, valid, completions)
        return jnp.sum(y.astype(jnp.float32)), y

    program = jax.jit(jax.grad(total, (0, 1, 2), has_aux=True)).trace(*given)
    return program.lower(lowering_platforms=("cuda",)).as_text()


def shapes(program: str) -> list[list[int]]:
    """The axes of all arrays of a program."""
    found = re.findall(r"tensor<((?:\d+x)+)\w+>", program)
    return [[int(n) for n in x.split("x")[:-1]] for x in found]


@pytest.mark.parametrize("meshed", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_a_gpus_program_calls_cudnn_forward_and_backward_and_has_no_scores(cudnn, shared, meshed):
    """Rows of 1,300 tokens in heads of 64; a prompt of 700 with three completions of 200."""
    valid, completions = group(700, 200) if shared else (lengths(1300)[:2], None)
    given = qkv(valid, 4, 2, 64, jnp.bfloat16)
    if meshed:  # of CPUs, which would not choose it
        with jax.set_mesh(meshes.make(1, 2, 2, devices=jax.devices()[:4])):
            program = lowered(partial(attend_fused, kernel="cudnn"), valid, completions, given)
    else:
        program = lowered(attend_rows, valid, completions, given)
    assert "__cudnn$fmhaSoftmax(" in program and "__cudnn$fmhaSoftmaxBackward(" in program
    assert "Bias" not in program  # a mask would be a bias of all scores
    assert "scatter" not in program  # what is rolled has a gradient that is rolled back
    assert not [x for x in shapes(program) if sum(n >= 512 for n in x) > 1]


def test_float32_on_a_gpu_stays_in_parts(cudnn):
    valid = lengths(1300)[:2]
    program = lowered(attend_rows, valid, None, qkv(valid, 4, 2, 64))
    assert "cudnn" not in program
    assert [2, 2, 2, 512, 1300] in shapes(program)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("channels", [64, 128])
@pytest.mark.parametrize("heads", [(4, 4), (28, 4)])
@pytest.mark.parametrize("shared", [False, True])
def test_on_a_gpu_cudnn_is_the_same_attention_with_the_same_gradient(
    gpu, shared, heads, channels, dtype
):
    valid, completions = group(300, 200) if shared else (lengths(900), None)
    given = qkv(valid, *heads, channels, jnp.dtype(dtype))
    exact = [x.astype(jnp.float32) for x in given]

    def ours(q, k, v):
        return attend_fused(q, k, v, valid, completions, kernel="cudnn")

    with jax.default_device(gpu), jax.default_matmul_precision("highest"):
        given, exact = jax.device_put((given, exact), gpu)
        got = values_and_gradients(ours, valid, given)
        wanted = values_and_gradients(plain(valid, completions), valid, exact)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        a, b = np.asarray(a, np.float32), np.asarray(b)
        assert np.isfinite(a).all()
        assert np.abs(a - b).max() < 0.02 * np.abs(b).max()


@pytest.fixture(scope="module")
def gpu():
    """A GPU with cuDNN's flash attention; the suite runs on CPUs unless JAX_PLATFORMS has one."""
    if jax.default_backend() != "gpu":
        pytest.skip("no GPU, or JAX_PLATFORMS is not set to cuda")
    return jax.devices()[0]
