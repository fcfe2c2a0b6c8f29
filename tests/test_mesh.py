import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mmcot_jax import mesh as meshes
from mmcot_jax.types import Batch, row_axes


@pytest.fixture(scope="module")
def cube():
    return meshes.make(2, 2, 2)


@pytest.mark.parametrize(
    ("given", "shape"),
    [((), (8, 1, 1)), ((2, -1, 2), (2, 2, 2)), ((1, 1, -1), (1, 1, 8)), ((4, 2, 1), (4, 2, 1))],
)
def test_one_axis_may_be_the_remaining_factor(given, shape):
    mesh = meshes.make(*given)
    assert tuple(mesh.shape.items()) == tuple(zip(("data", "fsdp", "tensor"), shape, strict=True))


@pytest.mark.parametrize("given", [(3, 1, 1), (-1, -1, 1), (-1, 3, 1), (16, 1, 1), (0, 8, 1)])
def test_a_mesh_that_does_not_fit_the_devices_is_refused(given):
    with pytest.raises(ValueError, match="does not fit 8 devices; choose sizes whose product"):
        meshes.make(*given)


@pytest.mark.parametrize(
    ("path", "shape", "expected"),
    [
        ("params/decoder/embed/embedding", (10, 4), ("tensor", "fsdp")),
        ("params/decoder/head/kernel", (4, 10), ("fsdp", "tensor")),
        ("params/decoder/layers/attention/q/kernel", (3, 4, 6), (None, "fsdp", "tensor")),
        ("params/decoder/layers/attention/v/bias", (3, 6), (None, "tensor")),
        ("params/decoder/layers/attention/k_norm/scale", (3, 2, 5), (None, "tensor", None)),
        ("params/decoder/layers/attention/o/kernel", (3, 6, 4), (None, "tensor", "fsdp")),
        ("params/decoder/layers/mlp/up/kernel", (3, 4, 8), (None, "fsdp", "tensor")),
        ("params/decoder/layers/mlp/down/kernel", (3, 8, 4), (None, "tensor", "fsdp")),
        ("params/seed/vit/blocks/layers/fc1/kernel", (3, 4, 8), (None, "fsdp", "tensor")),
        ("params/seed/vit/blocks/layers/attention/out/kernel", (3, 6, 4), (None, "tensor", "fsdp")),
        ("lora/decoder/layers/attention/q/a", (3, 4, 2), (None, "fsdp", None)),
        ("lora/decoder/layers/attention/q/b", (3, 2, 6), (None, None, "tensor")),
        ("lora/decoder/layers/mlp/down/a", (3, 8, 2), (None, "tensor", None)),
        ("lora/decoder/head/b", (2, 10), (None, "tensor")),
        # not divided by 2, or no axis to split
        ("params/decoder/layers/attention/q_norm/scale", (3, 5, 4), (None, None, None)),
        ("params/decoder/embed/embedding", (9, 4), (None, "fsdp")),
        ("params/decoder/norm/scale", (4,), ()),
        ("params/vqgan/encoder/conv_in/kernel", (3, 3, 3, 4), ()),
        ("params/vqgan/encoder/mid_attn_1/q/kernel", (1, 1, 4, 4), ()),
    ],
)
def test_the_partition_of_a_parameter_follows_from_its_path(cube, path, shape, expected):
    assert meshes.spec(path, shape, cube) == PartitionSpec(*expected)


def test_every_weight_of_the_decoder_but_norms_is_split(cube, chameleon):
    placed = meshes.shardings(chameleon.variables, cube)
    whole = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, s in jax.tree.leaves_with_path(placed)
        if not any(s.spec) and not path[1].key == "vqgan"
    }
    norms = {"norm/scale", "layers/attention_norm/scale", "layers/mlp_norm/scale"}
    assert whole == {f"params/decoder/{name}" for name in norms}


def test_optimizer_state_is_sharded_as_its_parameters(cube):
    state = {"mu": {"decoder": {"head": {"kernel": jnp.zeros((4, 10))}}}, "count": jnp.zeros(())}
    placed = meshes.shardings(state, cube)
    assert placed["mu"]["decoder"]["head"]["kernel"].spec == PartitionSpec("fsdp", "tensor")
    assert placed["count"].spec == PartitionSpec()


def test_shapes_have_dtype_and_sharding(cube):
    tree = {"head": {"kernel": jax.ShapeDtypeStruct((4, 10), jnp.bfloat16)}}
    leaf = meshes.shapes(tree, cube)["head"]["kernel"]
    assert (leaf.shape, leaf.dtype) == ((4, 10), jnp.bfloat16)
    assert leaf.sharding == NamedSharding(cube, PartitionSpec("fsdp", "tensor"))


def test_rows_are_put_and_got_in_order(cube):
    flags = np.ones((8, 3), bool)
    tokens = np.arange(24, dtype=np.int32).reshape(8, 3)
    batch = Batch(tokens, tokens[None], flags, flags)
    placed = meshes.put(batch, cube, row_axes(batch))
    assert placed.tokens.sharding.spec == PartitionSpec(("data", "fsdp"))
    assert placed.positions.sharding.spec == PartitionSpec(None, ("data", "fsdp"))
    assert {s.data.shape for s in placed.positions.addressable_shards} == {(1, 2, 3)}
    back = meshes.get(placed)
    np.testing.assert_array_equal(back.tokens, tokens)
    np.testing.assert_array_equal(back.positions, tokens[None])
    assert meshes.put({"n": np.arange(8)}, cube)["n"].sharding.spec == PartitionSpec(
        ("data", "fsdp")
    )


def test_without_put_and_get_nothing_is_transferred(cube):
    double = jax.jit(lambda x: x * 2)
    with meshes.no_implicit_transfers(cube):
        x = meshes.put(np.arange(8), cube)
        assert meshes.get(double(x)).tolist() == list(range(0, 16, 2))
        with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
            double(np.arange(8))


@pytest.mark.parametrize(("rows", "parts", "fits"), [(8, 2, True), (8, 4, False), (6, 1, False)])
def test_a_mesh_must_divide_a_batch_evenly(cube, rows, parts, fits):
    if fits:
        meshes.check_rows("sft.batch_size", rows, cube, parts)
        return
    with pytest.raises(ValueError, match=f"sft.batch_size is {rows}, no multiple of {parts} "):
        meshes.check_rows("sft.batch_size", rows, cube, parts)


def test_the_maximum_over_one_process_is_its_own_number():
    assert meshes.all_reduce_max(7) == 7


def test_weights_and_rows_are_resharded_to_another_mesh_of_the_same_devices(cube):
    other = meshes.remesh(cube, data=-1, tensor=2)
    assert tuple(other.shape.values()) == (4, 1, 2)
    assert set(other.devices.flat) == set(cube.devices.flat)
    weights = {"head": {"kernel": jnp.arange(40.0).reshape(4, 10)}, "norm": {"scale": jnp.ones(3)}}
    placed = jax.device_put(weights, meshes.shardings(weights, cube))
    moved = meshes.move(placed, other)
    assert moved["head"]["kernel"].sharding == NamedSharding(other, PartitionSpec("fsdp", "tensor"))
    np.testing.assert_array_equal(moved["head"]["kernel"], weights["head"]["kernel"])
    assert meshes.move(moved, other)["head"]["kernel"] is moved["head"]["kernel"]
    rows = meshes.put({"n": np.arange(8)}, other)
    rows = meshes.move_rows(rows, cube, {"n": 0})["n"]
    assert {s.data.shape for s in rows.addressable_shards} == {(2,)}
    assert meshes.get(rows).tolist() == list(range(8))


@pytest.mark.parametrize("keep", [True, False])
def test_weights_stay_in_both_layouts_or_in_the_one_in_use(cube, keep):
    other = meshes.remesh(cube, tensor=8, data=1)
    weights = {"head": {"kernel": jnp.ones((8, 16))}, "norm": {"scale": jnp.ones(3)}}
    placed = jax.device_put(weights, meshes.shardings(weights, cube))
    layouts = meshes.ReshardedWeights(placed, cube, keep=keep)
    assert layouts.on(cube) is placed
    sampled = layouts.on(other)
    assert placed["head"]["kernel"].is_deleted() is not keep
    back = layouts.on(cube)
    assert sampled["head"]["kernel"].is_deleted() is not keep
    np.testing.assert_array_equal(back["head"]["kernel"], np.ones((8, 16)))
    np.testing.assert_array_equal(back["norm"]["scale"], np.ones(3))


def test_both_layouts_are_kept_if_they_need_at_most_half_of_the_memory(cube):
    other = meshes.remesh(cube, tensor=8, data=1)
    weights = {"head": {"kernel": jax.ShapeDtypeStruct((8, 16), jnp.float32)}}
    # 8 x 16 x 4 bytes over fsdp=2 x tensor=2 there, over tensor=8 here
    assert meshes.keep_both_layouts(None, weights, cube, other, memory=2.0 * (128 + 64))
    assert not meshes.keep_both_layouts(None, weights, cube, other, memory=2.0 * (128 + 64) - 1)
    assert meshes.keep_both_layouts(True, weights, cube, other, memory=0.0)
    assert not meshes.keep_both_layouts(False, weights, cube, other, memory=math.inf)
    assert not meshes.keep_both_layouts(True, weights, cube, cube, memory=math.inf)  # there is one
    assert meshes.device_memory(cube) == math.inf  # CPUs do not say
    assert meshes._smallest_limit([{"bytes_limit": 9}, None, {"bytes_limit": 8}]) == 8


def test_the_tensor_axis_of_rollouts_stays_within_a_host(cube, monkeypatch):
    hosts = {device: device.id // 2 % 2 for device in cube.devices.flat}  # 0 0 1 1 0 0 1 1
    monkeypatch.setattr(meshes, "_host", hosts.get)
    other = meshes.remesh(cube, tensor=4)
    assert [device.id for device in other.devices.flat] == [0, 1, 4, 5, 2, 3, 6, 7]
    with pytest.raises(ValueError, match="tensor=8 spans hosts of 4 devices; choose a divisor"):
        meshes.remesh(cube, tensor=8, data=1)


@pytest.mark.parametrize(
    ("prompts", "samples", "parts", "expected"),
    [(8, 6, 1, 6), (4, 6, 1, 3), (4, 6, 3, 1), (8, 6, 2, 3), (2, 12, 1, 3)],
)
def test_a_training_row_holds_as_many_samples_as_still_fill_the_devices(
    prompts, samples, parts, expected
):
    mesh = meshes.make(2, 4, 1)
    assert meshes.samples_per_row(prompts, samples, mesh, parts) == expected
