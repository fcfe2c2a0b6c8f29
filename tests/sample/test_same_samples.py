"""Samples do not depend on how they are computed: recorded draws, windows, checks for the end."""

import pathlib
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax import mesh as meshes
from mmcot_jax.sample import sampler
from mmcot_jax.types import row_axes

RECORDED = runpy.run_path(str(pathlib.Path(__file__).parents[1] / "golden" / "make_samples.py"))
prompts, draw = RECORDED["prompts"], RECORDED["draw"]
KEY = jax.random.key(3)


def test_tokens_are_those_recorded(backbone, recorded):
    name, tiny, prompt = backbone
    for law in RECORDED["LAWS"]:
        ours = draw(*tiny, prompt, law)
        check(ours, {field: recorded[f"{name}/{law}/{field}"] for field in FIELDS})


UNROLL = pytest.mark.parametrize("unroll", [1, 2])
"""Unrolled layers have a cache each, of the slots and rows in use."""


@UNROLL
@pytest.mark.parametrize(
    "length", [8, 17, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 9))]
)
def test_a_completion_ends_anywhere_in_a_window(chameleon, monkeypatch, length, unroll):
    """Windows of 8 and 16 slots beside one window; the end is inside, at and after a border."""
    given = chameleon.variant(unroll=unroll), chameleon.variables
    prompt = prompts("chameleon", *given)

    def drawn(window):
        monkeypatch.setattr(sampler, "WINDOW", window)
        jax.clear_caches()
        return draw(*given, prompt, "nucleus", length)

    assert sampler.windows(length)[-1] % 8 == 0
    several, one = drawn(4), drawn(1024)
    assert several.tokens.shape == (3, 3, length)
    check(several, {field: getattr(one, field) for field in FIELDS})
    assert (np.asarray(several.tokens)[~np.asarray(several.valid)] == 0).all()
    assert (np.asarray(several.logps)[~np.asarray(several.valid)] == 0).all()


@UNROLL
def test_rows_that_ended_are_left_out_and_the_others_draw_as_before(
    chameleon, recorded, monkeypatch, unroll
):
    """Nine rows, then the first 7, 5 and 3 after those that go on came first."""
    monkeypatch.setattr(sampler, "FEWEST_ROWS", 2)
    monkeypatch.setattr(sampler, "FEWEST_TOKENS", 0)
    jax.clear_caches()
    assert sampler.row_counts(9, 20) == (9, 7, 5, 3)
    given = chameleon.variant(unroll=unroll), chameleon.variables
    for law in ("nucleus", "penalty"):
        ours = draw(*given, prompts("chameleon", *given), law)
        check(ours, {field: recorded[f"chameleon/{law}/{field}"] for field in FIELDS})
        assert (ours.valid.sum(axis=1) < 9).sum() >= 4  # so that 5 rows go on at most
        tokens = np.asarray(ours.valid.sum(axis=-1)).reshape(-1)
        assert int(ours.decoded.sum()) == decoded(tokens, (9, 7, 5, 3)) < 9 * 24
        assert (np.asarray(ours.decoded).reshape(-1) >= tokens).all()


def decoded(tokens, counts):
    """Tokens that are decoded, with those after the end: eight of each row in every check."""
    time = total = 0
    for count, fewer in zip(counts, (*counts[1:], 0), strict=True):
        while (tokens > time).sum() > fewer:
            time, total = time + 8, total + 8 * count
    return total


@UNROLL
@pytest.mark.slow
def test_each_device_leaves_out_its_own_rows(chameleon, monkeypatch, unroll):
    """Four shards of six rows, two groups each."""
    backbone, variables = chameleon.variant(unroll=unroll), chameleon.variables
    one = prompts("chameleon", backbone, variables)
    prompt = jax.tree.map(lambda x: np.concatenate([x, x, x], 0)[:8], one._replace(positions=()))
    prompt = prompt._replace(positions=np.concatenate([one.positions] * 3, 1)[:, :8])
    static = sampler.SampleStatic(RECORDED["LAWS"]["nucleus"], 20, 3)

    def drawn(prompt, keys):
        return sampler.sample(backbone, variables, backbone.grammar, prompt, keys, static)

    expected = drawn(jax.tree.map(jnp.asarray, prompt), sampler.row_keys(KEY, jnp.arange(24)))
    monkeypatch.setattr(sampler, "FEWEST_ROWS", 2)
    monkeypatch.setattr(sampler, "FEWEST_TOKENS", 0)
    jax.clear_caches()
    mesh = meshes.make(2, 2, 2)
    variables = jax.device_put(variables, meshes.shardings(variables, mesh))
    with jax.set_mesh(mesh):
        keys = sampler.row_keys(KEY, meshes.put(np.arange(24), mesh))
        ours = drawn(meshes.put(prompt, mesh, row_axes(prompt)), keys)
    # each process reads those of its rows
    assert ours.decoded.sharding.is_equivalent_to(jax.NamedSharding(mesh, meshes.ROWS), 2)
    tokens, done = (np.asarray(x).reshape(-1) for x in (ours.valid.sum(-1), ours.decoded))
    assert (done >= tokens).all() and done.min() < done.max() == -(-tokens.max() // 8) * 8
    expected = {field: getattr(expected, field) for field in FIELDS}
    check(ours, expected)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (5, (8,)),
        (128, (128,)),
        (129, (72, 136)),
        (400, (104, 200, 304, 400)),
        (5120, (640, 1280, 1920, 2560, 3200, 3840, 4480, 5120)),
    ],
)
def test_windows_are_whole_checks_that_hold_the_completion(length, expected):
    assert sampler.windows(length) == expected


@pytest.mark.parametrize(
    ("rows", "length", "expected"),
    [
        (15, 512, (15,)),
        (16, 64, (16,)),
        (16, 512, (16, 12, 8, 4)),
        (64, 96, (64, 48, 32, 16)),
    ],
)
def test_fewer_rows_have_a_program_only_where_it_saves_what_it_compiles_for(rows, length, expected):
    assert sampler.row_counts(rows, length) == expected


# --- recorded ---------------------------------------------------------------------------------

FIELDS = ("tokens", "valid", "state", "room", "sampled", "logps")


def check(ours, expected):
    """Equal where a row goes on; `state` and `room` mean nothing after its end."""
    valid = np.asarray(expected["valid"]).reshape(ours.valid.shape)
    for field in FIELDS:
        a = np.asarray(getattr(ours, field))
        b = np.asarray(expected[field]).reshape(a.shape)
        where = valid if field in ("state", "room") else ...
        # another CPU sums in another order: 1.3e-5 of a log-probability of -4 has been seen
        np.testing.assert_allclose(a[where], b[where], atol=5e-5 * (field == "logps"))


@pytest.fixture(scope="module")
def recorded():
    with np.load(RECORDED["FILE"]) as file:
        return dict(file)


@pytest.fixture(params=RECORDED["BACKBONES"])
def backbone(request):
    tiny = request.getfixturevalue(request.param)
    return request.param, tiny, prompts(request.param, *tiny)
