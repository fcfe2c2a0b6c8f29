"""Samples do not depend on how they are computed: recorded draws, windows, checks for the end."""

import pathlib
import runpy

import jax
import numpy as np
import pytest

from mmcot_jax.sample import sampler

RECORDED = runpy.run_path(str(pathlib.Path(__file__).parents[1] / "golden" / "make_samples.py"))
prompts, draw = RECORDED["prompts"], RECORDED["draw"]


def test_tokens_are_those_recorded(backbone, recorded):
    name, tiny, prompt = backbone
    for law in RECORDED["LAWS"]:
        ours = draw(*tiny, prompt, law)
        check(ours, {field: recorded[f"{name}/{law}/{field}"] for field in FIELDS})


@pytest.mark.parametrize("length", [5, 8, 9, 17])
def test_a_completion_ends_anywhere_in_a_window(chameleon, monkeypatch, length):
    """Windows of 8 and 16 slots beside one window; the end is inside, at and after a border."""
    prompt = prompts("chameleon", *chameleon)

    def drawn(window):
        monkeypatch.setattr(sampler, "WINDOW", window)
        jax.clear_caches()
        return draw(*chameleon, prompt, "nucleus", length)

    assert sampler.windows(length)[-1] % 8 == 0
    several, one = drawn(4), drawn(1024)
    assert several.tokens.shape == (9, length)
    check(several, {field: getattr(one, field) for field in FIELDS})
    assert (np.asarray(several.tokens)[~np.asarray(several.valid)] == 0).all()
    assert (np.asarray(several.logps)[~np.asarray(several.valid)] == 0).all()


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (5, (8,)),
        (128, (128,)),
        (129, (72, 136)),
        (400, (104, 200, 304, 400)),
        (5120, (1280, 2560, 3840, 5120)),
    ],
)
def test_windows_are_whole_checks_that_hold_the_completion(length, expected):
    assert sampler.windows(length) == expected


# --- recorded ---------------------------------------------------------------------------------

FIELDS = ("tokens", "valid", "state", "room", "sampled", "logps")


def check(ours, expected):
    """Equal where a row goes on; `state` and `room` mean nothing after its end."""
    valid = np.asarray(expected["valid"]).reshape(ours.valid.shape)
    for field in FIELDS:
        a = np.asarray(getattr(ours, field))
        b = np.asarray(expected[field]).reshape(a.shape)
        where = valid if field in ("state", "room") else ...
        np.testing.assert_allclose(a[where], b[where], atol=1e-5 * (field == "logps"))


@pytest.fixture(scope="module")
def recorded():
    with np.load(RECORDED["FILE"]) as file:
        return dict(file)


@pytest.fixture(params=RECORDED["BACKBONES"])
def backbone(request):
    tiny = request.getfixturevalue(request.param)
    return request.param, tiny, prompts(request.param, *tiny)
