"""Bytes that programs of a few lines read, and that decoding reads once it is compiled."""

import importlib.util

import jax
import jax.numpy as jnp
import pytest

from mmcot_jax import config, stages
from mmcot_jax.plan import hlo, reads, topology
from mmcot_jax.plan.programs import programs
from mmcot_jax.plan.report import decoder_bytes

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="compiles for TPUs: pip install libtpu"
)

LAYERS = """HloModule jit_f

%tile (whole: f32[9,4,8]) -> f32[9,4,8] {
  %whole = f32[9,4,8] parameter(0)
  ROOT %tiled = f32[9,4,8] copy(%whole)
}

%one_layer (w: f32[9,4,8], i: s32[]) -> f32[4,8] {
  %w = f32[9,4,8] parameter(0)
  %i = s32[] parameter(1)
  %other = f32[9,4,8] fusion(%w), output_to_operand_aliasing={{}: (0, {})}, calls=%tile
  %same = f32[9,4,8] bitcast(%other)
  %layer = f32[1,4,8] dynamic-slice(%same, %i), dynamic_slice_sizes={1,4,8}
  ROOT %reshaped = f32[4,8] reshape(%layer)
}

%product (y: f32[2,4], w: f32[9,4,8], i: s32[]) -> f32[2,8] {
  %y = f32[2,4] parameter(0)
  %w = f32[9,4,8] parameter(1)
  %i = s32[] parameter(2)
  %kernel = f32[4,8] fusion(%w, %i), kind=kLoop, calls=%one_layer
  ROOT %z = f32[2,8] dot(%y, %kernel), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%write (cache: f32[2,100], y: f32[2,1], i: s32[]) -> f32[2,100] {
  %cache = f32[2,100] parameter(0)
  %y = f32[2,1] parameter(1)
  %i = s32[] parameter(2)
  ROOT %new = f32[2,100] dynamic-update-slice(%cache, %y, %i, %i)
}

%body (p: (s32[], f32[2,100])) -> (s32[], f32[2,100]) {
  %p = (s32[], f32[2,100]) parameter(0)
  %i = s32[]{:S(6)} get-tuple-element(%p), index=0
  %w = f32[9,4,8]{2,1,0:T(8,128)} get-tuple-element(%p), index=1
  %y = f32[2,4]{1,0:T(8,128)S(1)} get-tuple-element(%p), index=2
  %cache = f32[2,100]{1,0} get-tuple-element(%p), index=3
  %z = f32[2,8]{1,0:S(1)} fusion(%y, %w, %i), kind=kOutput, calls=%product
  %new = f32[2,100] fusion(%cache, %z, %i), kind=kLoop, calls=%write
  %seen = f32[2,50] slice(%new), slice={[0:2], [0:50]}
  ROOT %t = (s32[], f32[2,100]) tuple(%i, %new)
}

%cond (p.1: (s32[], f32[2,100])) -> pred[] {
  %p.1 = (s32[], f32[2,100]) parameter(0)
  ROOT %lt = pred[] custom-call()
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8] parameter(0)
  %y = f32[8] negate(%x)
  ROOT %loop = (s32[], f32[2,100]) while(%y), condition=%cond, body=%body
}
"""


def test_slices_count_and_buffers_updated_in_place_and_arrays_on_the_chip_do_not():
    once = 8 * 4  # the entry's
    layer, window = 4 * 8 * 4, 2 * 50 * 4
    assert reads.bytes_read(hlo.parse(LAYERS, (7,))) == once + 7 * (layer + window)


def test_a_loop_over_stacked_weights_reads_each_of_them_once():
    weights, x = jnp.ones((5, 64, 64)), jnp.ones((2, 64))

    def layers(x, weights):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]

    text = jax.jit(layers).lower(x, weights).compile().as_text()
    # a CPU copies a layer's weights out of the stack, then multiplies; activations are 512 bytes
    assert 2 * weights.nbytes <= reads.bytes_read(hlo.parse(text)) < 2.2 * weights.nbytes


@pytest.mark.slow
@pytest.mark.tpu_aot
@needs_libtpu
def test_the_bytes_estimated_for_decoding_are_those_of_the_compiled_program():
    changes = [
        "plan.prompt_tokens=64", "grpo.max_completion_length=512", "model.context=2048",
        # more than fits on the chip (128 MiB): 134 MB of keys, and of each of an MLP's kernels
        "grpo.prompts_per_step=16", "grpo.num_generations=16", "grpo.rollout_micro_batches=2",
        "model.decoder.width=512", "model.decoder.mlp=32768", "model.decoder.heads=4",
        "model.decoder.rope_sections=(16,24,24)", "model.decoder.qk_norm=False",
    ]  # fmt: skip
    c = config.load("configs/m2t.py:tiny", changes)
    with c.unlocked():
        c.model.decoder.dtype = c.model.decoder.param_dtype = "bfloat16"
    mesh, rollout = stages.make_meshes(c, topology.devices("v5e:1x1"))
    (program,) = [p for p in programs(c, mesh, rollout) if p.name == "sample"]
    with jax.set_mesh(rollout):
        text = program.trace().lower().compile().as_text()
    read = reads.bytes_read(hlo.parse(text, program.loop_steps))
    estimated = program.weight_reads * decoder_bytes(c) + program.extra_bytes_read
    # small arrays stay on the chip; masks and activations are not in the estimate
    assert 0.95 * estimated < read < 1.1 * estimated
