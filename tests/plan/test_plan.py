"""The command: its output for a small model, and its one-line errors."""

import importlib.util
import json
import math
import re

import jax
import pytest

from mmcot_jax import config, data, stages
from mmcot_jax import mesh as meshes
from mmcot_jax.plan import topology
from mmcot_jax.plan.__main__ import main
from mmcot_jax.plan.chips import CHIPS, bound
from mmcot_jax.plan.programs import programs

GIVEN = ["--config", "configs/m2t.py:tiny"]
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="compiles for TPUs: pip install libtpu"
)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("v5e-16", "'v5e-16' is not CHIP:SHAPE of v4, v5e, v5p, v6e, tpu7x; some that exist: v4:2"),
        ("v7x:2x2x1", "'v7x:2x2x1' is not CHIP:SHAPE"),
        pytest.param("v5e:3x5", "'v5e:3x5' does not exist", marks=needs_libtpu),
    ],
)
def test_a_topology_that_does_not_exist_is_one_line_and_status_2(name, says, capsys):
    assert main([*GIVEN, "--topology", name]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: topology ") and says in err
    assert err.count("\n") == 1


def test_a_plan_leaves_the_persistent_cache_which_it_cannot_read_alone():
    jax.config.update("jax_enable_compilation_cache", True)
    topology.prepare()
    assert not jax.config.jax_enable_compilation_cache


def test_without_the_compiler_the_error_names_the_package(monkeypatch):
    monkeypatch.setattr(topology, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install mmcot_jax\[plan\]"):
        topology.devices("v5e:2x2")


def test_the_bound_is_the_slowest_of_computing_reading_and_sending():
    chip = CHIPS["v5e"]
    found = bound(chip, 197e12, 819e9 * 3, 200e9 * 2, None)
    assert (found.compute, found.memory, found.network) == (1, 3, 2)
    assert found.seconds == 3
    assert bound(chip, 0.0, 0.0, 1.0, 3.125e9 * 5).seconds == 5
    assert bound(chip, 1.0, 0.0, None, None).network is None


PROGRAMS = {
    "m2m": ["tokenize", "sft_step", "prepare", "sample", "grpo_step", "pixels"],
    "t2m": ["prepare", "sample", "rollout_logps", "grpo_step"],
    "m2t": ["sft_step", "prepare", "sample", "grpo_step"],
    "m2t:3b-viscot": ["sft_step", "prepare", "sample", "grpo_step"],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_full_configs_run_these_programs_without_a_weight(name):
    file, _, preset = name.partition(":")
    c = config.load(f"configs/{file}.py:{preset}".rstrip(":"), ["mesh.fsdp=4", "mesh.tensor=2"])
    mesh, rollout = stages.make_meshes(c)
    found = {program.name: program for program in programs(c, mesh, rollout)}
    expected = PROGRAMS[name]
    if name == "t2m":  # its prompts have no pictures
        expected = [program for program in expected if program != "prepare"]
    assert [n for n in found if not n.startswith("eval_")] == expected
    # the base in both layouts, 13 GiB and more of it over 8 devices
    assert found["sample"].live_bytes > 2 * found["grpo_step"].mesh.size * 2**28 / 8
    assert found["sample"].mesh == rollout and found["grpo_step"].mesh == mesh


def test_the_base_is_planned_in_one_layout_if_two_do_not_fit():
    changes = ["mesh.fsdp=4", "mesh.tensor=2", "model.decoder.base_dtype=None"]
    c = config.load("configs/m2m.py", changes)
    pair = stages.make_meshes(c)

    def live_bytes(memory):
        return {program.name: program.live_bytes for program in programs(c, *pair, memory)}

    large, small = live_bytes(16.0 * 2**30), live_bytes(8.0 * 2**30)
    # 13 GiB of base and the VQGAN: over 8 devices to train, over 4 to sample
    for name, devices in {"sample": 8, "grpo_step": 4}.items():
        assert 13 < (large[name] - small[name]) / 2**30 * devices < 16


@pytest.mark.parametrize("name", ["m2m:tiny", "m2t:tiny", "t2m:tiny"])
def test_the_shapes_of_a_small_config_hold_its_data(name, tmp_path):
    file, _, preset = name.partition(":")
    few = [f"data.{group}.count=40" for group in ("train", "grpo")]
    quiet = [f"data.{g}.{k}" for g in ("train", "grpo") for k in ("processes=1", "progress=False")]
    c = config.load(f"configs/{file}.py:{preset}", few + quiet * (file == "m2m"))
    with c.unlocked():
        c.stages = ()
    run = stages.Run(c, tmp_path)
    for group, render, tokens, slots in (
        ("train", run.backbone.renderer.supervise, c.plan.row_tokens, c.plan.row_slots),
        ("grpo", run.backbone.renderer.prompt, c.plan.prompt_tokens, c.plan.prompt_slots),
    ):
        rows = data.Rendered(run.data.load(c.data[group]), render)
        assert 0.8 * tokens <= rows.lengths.max() <= tokens
        assert rows.slots.max() == slots


@pytest.mark.slow
@pytest.mark.tpu_aot
@needs_libtpu
def test_a_plan_of_a_small_model(capsys):
    given = [*GIVEN, "--topology", "v5e:2x2", "--programs", "sample", "--json"]
    changes = ["--config.eval.batch_size=64", "--config.grpo.max_completion_length=8"]
    rollout = "--config.rollout_mesh={'data': 2, 'tensor': 2}"
    assert main([*given, *changes, rollout]) == 0
    plan = json.loads(capsys.readouterr().out)
    (program,) = plan["programs"]
    assert (plan["fits"], plan["devices"], program["program"]) == (True, 4, "sample")
    assert program["mesh"] == {"data": 2, "fsdp": 1, "tensor": 2}
    assert 2**20 < program["peak_bytes"] < 2**30 < program["budget_bytes"]
    # two sums over a pair of devices in each of 4 layers and 9 steps, at least
    assert program["sent_bytes"]["all-reduce"] > 2 * 4 * 9 * 32 * 192 * 2 / 2
    assert program["bound_s"]["least"] > 0


@pytest.mark.tpu_aot
@needs_libtpu
def test_a_program_that_cannot_fit_is_estimated_by_its_excess(capsys):
    """Its argument alone exceeds the memory of the one device."""
    from mmcot_jax.plan import measure
    from mmcot_jax.plan.programs import Program

    mesh = meshes.make(1, 1, 1, devices=topology.devices("v5e:1x1"))
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    x = jax.ShapeDtypeStruct((2**33,), jax.numpy.float32, sharding=place)
    program = Program("sums", lambda: jax.jit(lambda x: x[::-1] + x).trace(x), mesh, 0.0)
    estimate = measure.measure(program, CHIPS["v5e"], 0.0)
    assert estimate.peak is None and estimate.over_bytes > 2**34 and not estimate.fits
    assert estimate.verdict.startswith("does not fit: ") and estimate.verdict.endswith("over 15.75")


@pytest.mark.tpu_aot
@needs_libtpu
def test_a_sum_over_two_slices_is_sent_between_them():
    """Each device sends its 4 KiB once around a ring of two, summed, and once back."""
    from mmcot_jax.plan import measure
    from mmcot_jax.plan.programs import Program

    mesh = meshes.make(2, 4, 1, devices=topology.devices("v5e:2x2", 2))
    places = [jax.sharding.PartitionSpec(*axes) for axes in (("data", "fsdp"), ("fsdp",))]
    given, place = (jax.sharding.NamedSharding(mesh, spec) for spec in places)
    x = jax.ShapeDtypeStruct((2, 4 * 1024), jax.numpy.float32, sharding=given)
    summed = jax.jit(lambda x: x.sum(0), out_shardings=place)
    estimate = measure.measure(
        Program("sums", lambda: summed.trace(x), mesh, 0.0), CHIPS["v5e"], 0.0, 2
    )
    assert (estimate.sent.across_slices, estimate.sent.within_slice) == (4096, {})
    assert estimate.bound.network == 4096 / CHIPS["v5e"].dcn_rate


@pytest.mark.tpu_aot
@needs_libtpu
@pytest.mark.parametrize(
    ("prompts", "heads", "kv_heads"),
    [
        (8, 2, 2),
        # one loop decodes 8 rows of 8 heads, the others 16, 12 and 4
        pytest.param(2, 8, 8, marks=pytest.mark.slow),
    ],
)
def test_a_rollout_has_one_copy_of_the_cache(prompts, heads, kv_heads):
    """Without its arguments a rollout needs the memory of one cache, not of two.

    Each prompt once, and 8 completions of each.
    """
    changes = [
        "plan.prompt_tokens=2048", "grpo.max_completion_length=512", "model.context=4096",
        f"grpo.prompts_per_step={prompts}", "grpo.num_generations=8",
        # heads of whole lanes, as the released models have them
        f"model.decoder.width={128 * heads}", f"model.decoder.heads={heads}",
        f"model.decoder.kv_heads={kv_heads}", "model.decoder.rope_sections=(16,24,24)",
        "model.decoder.unroll=1",
    ]  # fmt: skip
    c = config.load("configs/m2t.py:tiny", changes)
    with c.unlocked():
        c.model.decoder.dtype = "bfloat16"
    mesh, rollout = stages.make_meshes(c, topology.devices("v5e:1x1"))
    (program,) = [p for p in programs(c, mesh, rollout) if p.name == "sample"]
    with jax.set_mesh(rollout):
        memory = program.trace().lower().compile().memory_analysis()
    d = c.model.decoder
    cache = 2 * d.layers * prompts * (2048 + 8 * 512) * d.kv_heads * (d.width // d.heads) * 2
    temporary = memory.peak_memory_in_bytes - memory.argument_size_in_bytes
    assert cache < temporary < 1.5 * cache


@pytest.mark.parametrize(("devices", "unroll"), [(1, 1), (1, 4), (2, 1)])
def test_a_rollout_on_a_cpu_copies_no_cache_in_its_loops(devices, unroll):
    """A reshape of the cache around its update once made three copies of it for each token."""
    flags = ["grpo.max_completion_length=304", f"model.decoder.unroll={unroll}"]
    c = config.load("configs/m2m.py:tiny", flags)
    mesh, rollout = stages.make_meshes(c, jax.devices("cpu")[:devices])
    (program,) = [p for p in programs(c, mesh, rollout) if p.name == "sample"]
    with jax.set_mesh(rollout):
        compiled = program.trace().lower().compile()
    d = c.model.decoder
    rows = c.grpo.prompts_per_step * c.grpo.num_generations // devices
    slot = rows * d.kv_heads * (d.width // d.heads)
    # one array of all layers, slots and rows, or one of each layer, of the slots and rows in use
    arrays, sizes = 2, {d.layers * slot * 304}
    if unroll > 1:
        in_use = [(104, 4), (208, 4), *((304, quarters) for quarters in (4, 3, 2, 1))]
        arrays, sizes = 8, {slot * slots * quarters // 4 for slots, quarters in in_use}
    shapes = re.findall(r"= f32\[([\d,]+)\]\S* copy\(", compiled.as_text())
    copies = [shape for shape in shapes if math.prod(map(int, shape.split(","))) in sizes]
    assert len(copies) < arrays  # of the zeros before the first loop
    size = d.layers * slot * 304
    assert compiled.memory_analysis().temp_size_in_bytes < 1.5 * 2 * size * 4
