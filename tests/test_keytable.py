import numpy as np
import pytest

from mmcot_jax.keytable import TRANSFORMS, Rule, Table, adapter_table, check, listed, slots

TABLE = Table(
    (
        Rule("emb.weight", ("embed", "embedding")),
        Rule("h.{layer}.fc.weight", ("layers", "fc", "kernel"), "linear"),
    ),
    ("h.*.inv_freq",),
)
SHAPES = {("embed", "embedding"): (5, 2), ("layers", "fc", "kernel"): (2, 2, 3)}


def test_a_rule_with_layers_stands_for_one_tensor_a_layer():
    groups = slots(TABLE, SHAPES)
    assert [(s.name, s.layer, s.shape) for group in groups.values() for s in group] == [
        ("emb.weight", None, (5, 2)),
        ("h.0.fc.weight", 0, (3, 2)),
        ("h.1.fc.weight", 1, (3, 2)),
    ]


@pytest.mark.parametrize(
    ("name", "upstream", "heads"),
    [
        ("same", (5,), 0),
        ("linear", (3, 2), 0),
        ("conv", (4, 3, 2, 1), 0),
        ("patches", (5, 4, 3, 2, 1), 0),
        ("rotary_linear", (8, 3), 2),
        ("rotary_norm", (4,), 2),
    ],
)
def test_every_transform_written_back_is_the_tensor_read(name, upstream, heads):
    transform = TRANSFORMS[name]
    tensor = np.arange(np.prod(upstream)).reshape(upstream)
    ours = transform.read(tensor, heads)
    assert transform.shape(ours.shape, heads) == upstream
    np.testing.assert_array_equal(transform.write(ours, heads), tensor)


def test_a_linear_layer_is_transposed():
    assert TRANSFORMS["linear"].read(np.array([[1, 2, 3], [4, 5, 6]]), 0).tolist() == [
        [1, 4],
        [2, 5],
        [3, 6],
    ]


def test_a_convolution_goes_from_oihw_to_hwio():
    assert TRANSFORMS["conv"].read(np.zeros((4, 3, 2, 1)), 0).shape == (2, 1, 3, 4)


def test_interleaved_channels_become_halves_within_each_head():
    # two heads of four channels, one input: rows are the output channels
    rows = np.arange(8)[:, None]
    assert TRANSFORMS["rotary_linear"].read(rows, 2).tolist() == [[0, 2, 1, 3, 4, 6, 5, 7]]


def test_a_shared_norm_becomes_one_of_each_head():
    assert TRANSFORMS["rotary_norm"].read(np.arange(4), 2).tolist() == [[0, 2, 1, 3]] * 2


def test_norms_that_differ_from_head_to_head_do_not_fit_the_original():
    with pytest.raises(ValueError, match=r"differs from head to head.*export to the Hugging Face"):
        TRANSFORMS["rotary_norm"].write(np.array([[0, 1], [0, 2]]), 2)


def test_interleaved_rotation_before_is_half_rotation_after():
    # the pair (2i, 2i+1) turned by angle i, in either layout
    rng = np.random.default_rng(0)
    q, angle = rng.normal(size=8), rng.normal(size=4)
    even, odd = q[::2], q[1::2]
    turned = np.empty(8)
    turned[::2] = even * np.cos(angle) - odd * np.sin(angle)
    turned[1::2] = odd * np.cos(angle) + even * np.sin(angle)
    first, second = np.split(TRANSFORMS["rotary_linear"].read(q[:, None], 1)[0], 2)
    halves = np.concatenate(
        [
            first * np.cos(angle) - second * np.sin(angle),
            second * np.cos(angle) + first * np.sin(angle),
        ]
    )
    np.testing.assert_allclose(TRANSFORMS["rotary_linear"].write(halves[None], 1)[:, 0], turned)


def test_all_faults_of_a_checkpoint_are_listed_at_once():
    found = {
        "h.0.fc.weight": (2, 3),
        "h.1.fc.weight": (3, 2),
        "h.2.fc.weight": (3, 2),
        "h.0.inv_freq": (7,),
    }
    with pytest.raises(ValueError) as error:
        check(TABLE, slots(TABLE, SHAPES), found, "x")
    assert str(error.value) == (
        "weights x do not fit this model: 1 missing (emb.weight); 1 unexpected (h.2.fc.weight); "
        "1 misshapen (h.0.fc.weight is [2 3], fits [3 2]); "
        "give the weights of this model, or the config of those weights"
    )


def test_a_checkpoint_that_fits_passes():
    found = {"emb.weight": (5, 2), "h.0.fc.weight": (3, 2), "h.1.fc.weight": (3, 2)}
    check(TABLE, slots(TABLE, SHAPES), found, "x")


def test_long_lists_are_cut_but_counted():
    assert listed({"missing": list("abcd"), "unexpected": []}, most=2) == (
        "4 missing (a, b, and 2 more)"
    )


def test_a_table_and_parameters_that_differ_say_where():
    with pytest.raises(ValueError, match=r"1 parameters without a rule \(norm/scale\)"):
        slots(TABLE, {**SHAPES, ("norm", "scale"): (2,)})
    with pytest.raises(ValueError, match=r"1 rules without a parameter \(embed/embedding\)"):
        slots(TABLE, {("layers", "fc", "kernel"): (2, 2, 3)})


def test_adapters_take_the_name_of_their_layer():
    table = adapter_table(TABLE, [("layers", "fc", "a"), ("layers", "fc", "b")])
    assert [(rule.upstream, rule.transform) for rule in table.rules] == [
        ("base_model.model.h.{layer}.fc.lora_A.weight", "linear"),
        ("base_model.model.h.{layer}.fc.lora_B.weight", "linear"),
    ]
    check(table, {}, {"base_model.model.lm_head.base_layer.weight": (2, 2)}, "of PEFT")


def test_an_adapter_on_no_linear_layer_is_refused():
    with pytest.raises(ValueError, match=r"no linear layer for 1 adapters \(embed/a\)"):
        adapter_table(TABLE, [("embed", "a")])
