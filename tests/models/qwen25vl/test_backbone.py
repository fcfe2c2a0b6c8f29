"""Qwen2.5-VL against the upstream implementation: positions, logits, continuations."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import qwen_golden

from mmcot_jax.sample.distribution import Sampling
from mmcot_jax.sample.sampler import SampleStatic, row_keys, sample

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
    np.testing.assert_array_equal(rollout.tokens, want)
