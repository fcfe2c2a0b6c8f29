"""Programs of rows of more than a thousand tokens: which scores and masks exist in them.

Programs are lowered, not compiled; a GPU need not be here.
"""

import math
import re
import types

import jax
import jax.numpy as jnp
import optax
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from mmcot_jax.nn import attention
from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.sampler import SampleStatic, row_keys, sample
from mmcot_jax.train.objective import Objective
from mmcot_jax.train.optim import split
from mmcot_jax.train.step import GrpoStatic, SftStatic, grpo_step, sft_step, start
from mmcot_jax.types import Batch, Experience, Rollout

SGD = optax.sgd(1.0)
PROMPT, COMPLETION, SUPERVISED = 1100, 1200, 1500


@pytest.fixture(scope="module")
def backbone(chameleon):
    """Half precision and heads of 8 channels, which cuDNN takes; layers are rematerialised."""
    return chameleon.variant(dtype="bfloat16", remat=True)


def abstract(tree):
    arrays = jax.tree.map(jnp.asarray, tree)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arrays)


def batch(rows, tokens) -> Batch:
    """Zeros of a batch's shapes."""
    flags = jnp.zeros((rows, tokens), bool)
    ints = jnp.zeros((rows, tokens), jnp.int32)
    return Batch(ints, ints[None], flags, flags)


def supervised(chameleon, backbone):
    trained, frozen = split(chameleon.variables, "lora")
    static = SftStatic(backbone, SGD, "lora", micro_batches=1, dropout=False, chunk=64)
    given = start(trained, SGD), frozen, batch(1, SUPERVISED), backbone.grammar, jax.random.key(0)
    return sft_step.trace(*abstract(given), static)


def grouped(chameleon, backbone):
    """One row of a prompt and two completions."""
    trained, frozen = split(chameleon.variables, "lora")
    static = GrpoStatic(backbone, SGD, "lora", Objective(), Sampling(), micro_batches=1, chunk=64)
    ints = jnp.zeros((1, 2, COMPLETION), jnp.int32)
    flags, floats = ints > 0, 0.0 * ints
    rollout = Rollout(batch(1, PROMPT), ints, ints, ints, flags, flags, floats)
    experience = Experience(rollout, floats[..., 0])
    given = start(trained, SGD), frozen, experience, backbone.grammar
    return grpo_step.trace(*abstract(given), static)


def sampled(chameleon, backbone):
    keys = row_keys(jax.random.key(0), jnp.arange(2))
    given = chameleon.variables, backbone.grammar, batch(1, PROMPT), keys
    return sample.trace(backbone, *abstract(given), SampleStatic(Sampling(), 8, num_generations=2))


LONG = {
    SUPERVISED,
    PROMPT,
    COMPLETION,
    PROMPT + COMPLETION,
    2 * COMPLETION,
    PROMPT + 2 * COMPLETION,
}
LONG |= {-(-n // 128) * 128 for n in LONG} | {-(-n // 512) * 512 for n in LONG}
"""Tokens of all queries or keys of a row, padded or not."""


def shapes(program) -> list[tuple[int, ...]]:
    found = re.findall(r"tensor<((?:\d+x)+)\w+>", program)
    return [tuple(int(n) for n in x.split("x")[:-1]) for x in found]


def whole(shapes):
    """Those with both all queries and all keys."""
    return {x for x in shapes if sum(n in LONG for n in x) > 1}


PROGRAMS = pytest.mark.parametrize(
    ("trace", "keys"),
    [(supervised, SUPERVISED), (grouped, PROMPT + COMPLETION), (sampled, PROMPT)],
)


@PROGRAMS
def test_on_a_cpu_scores_and_masks_are_of_512_queries_at_most(chameleon, backbone, trace, keys):
    found = shapes(trace(chameleon, backbone).lower().as_text())
    assert not whole(found)
    # the largest array of all is that of one part's scores
    assert max(map(math.prod, found)) <= backbone.c.heads * attention.BLOCK * keys


def test_without_parts_they_would_be_found(chameleon, backbone, monkeypatch):
    monkeypatch.setattr(attention, "BLOCK", 4096)
    jax.clear_caches()
    found = whole(shapes(supervised(chameleon, backbone).lower().as_text()))
    jax.clear_caches()
    assert (1, 2, 2, SUPERVISED, SUPERVISED) in found


@PROGRAMS
def test_on_a_gpu_there_are_no_scores_and_cudnn_is_called(
    chameleon, backbone, monkeypatch, trace, keys
):
    if fused_attention_stablehlo.cuda_versions is None:  # only the version is read
        versions = types.SimpleNamespace(cudnn_get_version=lambda: 91000)
        monkeypatch.setattr(fused_attention_stablehlo, "cuda_versions", versions)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    jax.clear_caches()
    program = trace(chameleon, backbone).lower(lowering_platforms=("cuda",)).as_text()
    jax.clear_caches()
    assert "__cudnn$fmhaSoftmax(" in program
    assert ("__cudnn$fmhaSoftmaxBackward(" in program) == (trace is not sampled)
    assert "Bias" not in program
    found = shapes(program)
    assert not whole(found)
    assert max(map(math.prod, found)) < backbone.c.heads * attention.BLOCK * keys / 4
