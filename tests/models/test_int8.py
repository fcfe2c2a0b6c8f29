"""Every backbone with `base_dtype` int8: the same laws, from the same files."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny as tinies

from mmcot_jax import hf, models, quantize
from mmcot_jax import mesh as meshes
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.sampler import SampleStatic, row_keys, sample
from mmcot_jax.train.logps import score_rollout
from mmcot_jax.types import Batch

NUCLEUS = Sampling(temperature=0.7, top_p=0.9)


@pytest.fixture(scope="module")
def base(tiny):
    """The backbone in int8."""
    return tiny.variant(base_dtype="int8")


@pytest.fixture(scope="module")
def config(name, tiny, tmp_path_factory):
    """A config's `model` with float weights in a folder, to be read as int8."""
    folder = tmp_path_factory.mktemp(name)
    models.get(name).weights.save(tiny.backbone, tiny.variables["params"], folder / "weights")
    c = tinies.config(name, tiny.backbone, folder) | {"weights": str(folder / "weights")}
    return c | {"decoder": c["decoder"] | {"base_dtype": "int8"}}


@pytest.fixture(scope="module")
def variables(name, tiny, base, config):
    """The weights as read, on one device, with the loud adapters."""
    mesh = meshes.make(1, devices=jax.devices()[:1])
    loaded = models.get(name).load(base, config, jax.random.key(0), mesh)
    lora = jax.device_put(tiny.variables["lora"], jax.devices()[0])
    return jax.device_put(loaded | {"lora": lora}, jax.devices()[0])


def text(tiny) -> Batch:
    """Three rows of words alone, left-padded."""
    (ids,) = np.nonzero(np.asarray(tiny.backbone.grammar.is_text))
    tokens = np.random.default_rng(0).choice(ids, (3, 9)).astype(np.int32)
    valid = np.arange(9) >= np.array([[0], [2], [5]])
    at = np.broadcast_to(np.maximum(np.cumsum(valid, 1) - 1, 0), (1, 3, 9)).astype(np.int32)
    at = np.broadcast_to(at, (tiny.backbone.position_axes, 3, 9))
    return jax.tree.map(jnp.asarray, Batch(tokens, at, valid, valid))


def logits(backbone, variables, batch):
    return backbone.unembed(variables, backbone(variables, batch)[0])


def dequantized(variables):
    return variables | {"params": hf.merge(variables["params"], zeros(variables["lora"]), 1.0)}


def zeros(lora):
    return jax.tree.map(jnp.zeros_like, lora)


def test_weights_are_quantised_as_they_are_read_on_any_mesh(name, tiny, base, config, variables):
    mesh = meshes.make(2, 2, 2)
    sharded = models.get(name).load(base, config, jax.random.key(0), mesh)["params"]
    kernel = sharded["decoder"]["layers"]["attention"]["q"]["kernel"]
    assert kernel.qvalue.sharding.spec == jax.P(None, "fsdp", "tensor")
    assert kernel.scale.sharding.spec == jax.P(None, None, "tensor")
    jax.tree.map(np.testing.assert_array_equal, sharded, variables["params"])
    given, made = (hf.flatten(x["params"]) for x in (tiny.variables, variables))
    for path, x in made.items():
        in_decoder = path[0] == "decoder" and path[-1] in ("kernel", "embedding")
        assert quantize.is_quantized(x) == in_decoder
        if in_decoder:
            wanted = quantize.quantize(given[path], -1 if path[-1] == "embedding" else -2)
            jax.tree.map(np.testing.assert_array_equal, x, wanted)
        else:
            np.testing.assert_array_equal(x, given[path])


def test_random_weights_have_the_same_form_and_a_rule_each(base, variables):
    made = jax.eval_shape(base.init, jax.random.key(0))
    assert jax.tree.structure(made) == jax.tree.structure(variables)
    mesh = meshes.make(1, 4, 2)
    for x, sharding in zip(
        jax.tree.leaves(made), jax.tree.leaves(meshes.shardings(made, mesh)), strict=True
    ):
        sharding.shard_shape(x.shape)


def test_logits_are_those_of_the_dequantised_weights_and_near_the_float_ones(tiny, base, variables):
    batch = text(tiny)
    ours = jax.jit(partial(logits, base))(variables, batch)[batch.valid]
    forward = jax.jit(partial(logits, tiny.backbone))
    np.testing.assert_allclose(
        ours, forward(dequantized(variables), batch)[batch.valid], atol=2e-3, rtol=1e-3
    )
    wanted = forward(tiny.variables, batch)[batch.valid]
    assert 0 < jnp.linalg.norm(ours - wanted) / jnp.linalg.norm(wanted) < 0.05


@pytest.mark.slow
def test_the_loss_scores_as_the_sampler_did_and_adapters_have_gradients(tiny, base, variables):
    grammar = base.grammar
    rollout = sample(
        base, variables, grammar, text(tiny), row_keys(jax.random.key(5), jnp.arange(6)),
        SampleStatic(NUCLEUS, 6, num_generations=2),
    )  # fmt: skip

    @partial(jax.jit, static_argnums=0)
    def value(backbone, lora, variables, rollout):
        def score(lora):
            given = variables | {"lora": lora}
            logps = score_rollout(backbone, given, grammar, rollout, NUCLEUS, chunk=5).logps
            return jnp.where(rollout.valid, logps, 0).sum(), logps

        return jax.grad(score, has_aux=True)(lora)

    grads, logps = value(base, variables["lora"], variables, rollout)
    off = jnp.where(rollout.valid, logps - rollout.logps, 0)
    assert float(jnp.abs(off).max()) < 5e-5
    wanted, _ = value(tiny.backbone, variables["lora"], dequantized(variables), rollout)
    norm = lambda tree: jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree)))  # noqa: E731
    difference = jax.tree.map(jnp.subtract, grads, wanted)
    assert norm(difference) < 2e-3 * norm(wanted)


def test_merging_adds_adapters_to_the_weights_that_were_used(tiny, base, variables):
    merged = hf.merge(variables["params"], variables["lora"], base.c.lora.alpha)
    batch = text(tiny)
    plain = tiny.variant(lora=None)
    ours = jax.jit(partial(logits, plain))({"params": merged}, batch)[batch.valid]
    wanted = jax.jit(partial(logits, base))(variables, batch)[batch.valid]
    np.testing.assert_allclose(ours, wanted, atol=2e-3, rtol=1e-3)
    half = hf.merge(variables["params"], variables["lora"], base.c.lora.alpha, jnp.bfloat16)
    decoder = hf.flatten(half["decoder"])
    kernels = [x for path, x in decoder.items() if path[-1] in ("kernel", "embedding")]
    assert {x.dtype for x in kernels} == {jnp.dtype(jnp.bfloat16)}


def test_a_decoder_needs_half_of_bfloat16s_memory(tiny):
    sizes = {"vocab": 4096, "width": 512, "mlp": 1024, "param_dtype": "bfloat16"}

    def size(**fields):
        decoder = tiny.variant(**sizes, **fields)
        shapes = jax.eval_shape(decoder.init, jax.random.key(0))["params"]["decoder"]
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))

    assert 0.5 < size(base_dtype="int8") / size() < 0.51
    assert 0.5 < size(base_dtype="int8", tied=True) / size(tied=True) < 0.51
