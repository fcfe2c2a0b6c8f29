import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmcot_jax.sample.distribution import (
    Sampling,
    first_occurrence,
    penalize,
    sampling,
    token_log_probs,
)

# probabilities 0.5, 0.3, 0.15, 0.05
LOGITS = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))
ALL = jnp.ones(4, bool)


def law(sampling, allowed=ALL, logits=LOGITS):
    return np.exp(np.asarray(token_log_probs(logits, allowed, sampling), np.float64))


def test_without_options_it_is_the_softmax():
    np.testing.assert_allclose(law(Sampling()), [0.5, 0.3, 0.15, 0.05], atol=1e-6)


def test_what_is_not_allowed_gives_its_share_to_the_rest():
    allowed = jnp.array([False, True, True, True])
    np.testing.assert_allclose(law(Sampling(), allowed), [0, 0.6, 0.3, 0.1], atol=1e-6)


def test_temperature_is_a_power_of_the_probabilities():
    squares = np.array([0.25, 0.09, 0.0225, 0.0025])
    np.testing.assert_allclose(law(Sampling(0.5)), squares / squares.sum(), atol=1e-6)


def test_pictures_may_have_a_temperature_of_their_own():
    logits, state = jnp.stack([LOGITS] * 3), jnp.array([0, 5, 2])  # of text, and of two in pictures
    both = token_log_probs(
        logits, jnp.stack([ALL] * 3), Sampling(2.0, image_temperature=0.5), state
    )
    expected = np.stack([law(Sampling(x)) for x in (2.0, 0.5, 0.5)])
    np.testing.assert_allclose(np.exp(both), expected, atol=1e-6)
    same = token_log_probs(logits, jnp.stack([ALL] * 3), Sampling(2.0), state)
    np.testing.assert_allclose(np.exp(same), np.stack([law(Sampling(2.0))] * 3), atol=1e-6)


def test_top_k_keeps_the_likeliest_and_all_that_equal_the_last_of_them():
    np.testing.assert_allclose(law(Sampling(top_k=2)), [0.625, 0.375, 0, 0], atol=1e-6)
    ties = jnp.array([1.0, 0.0, 0.0, -1.0])
    assert (law(Sampling(top_k=2), logits=ties) > 0).tolist() == [True, True, True, False]


@pytest.mark.parametrize(("min_p", "kept"), [(0.05, 4), (0.2, 3), (0.5, 2), (0.7, 1), (1.0, 1)])
def test_min_p_keeps_what_has_that_share_of_the_likeliest(min_p, kept):
    # shares of the likeliest: 1 0.6 0.3 0.1
    assert (law(Sampling(min_p=min_p)) > 0).sum() == kept


def test_min_p_looks_at_what_the_temperature_left():
    # at 2 the shares are the roots 1 0.775 0.548 0.316
    assert (law(Sampling(2.0, min_p=0.5)) > 0).sum() == 3
    assert (law(Sampling(2.0, min_p=0.6, top_k=3)) > 0).sum() == 2


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.4, 1), (0.6, 2), (0.79, 2), (0.81, 3), (0.96, 4), (1.0, 4)]
)
def test_top_p_keeps_the_least_set_that_reaches_it(top_p, kept):
    assert (law(Sampling(top_p=top_p)) > 0).sum() == kept


def nucleus_by_sorting(x, top_p):
    """The definition: the smallest set that reaches `top_p`, and ties with its last member."""
    ordered = -jnp.sort(-x, axis=-1)
    p = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(p, axis=-1) - p
    return x >= jnp.min(jnp.where(before < top_p, ordered, jnp.inf), axis=-1, keepdims=True)


@pytest.mark.parametrize("scale", [0.0, 0.01, 1.0, 30.0])
def test_top_p_is_found_without_sorting(scale):
    random = np.random.default_rng(0)
    x = scale * random.normal(size=(64, 500)).astype(np.float32)
    x[::2] = np.round(x[::2])  # ties, 0.0 and -0.0
    allowed = random.random(x.shape) < np.linspace(0.01, 1, 64)[:, None]
    allowed[:, 7] = True
    allowed, x = jnp.asarray(allowed), jnp.asarray(x)
    masked = jnp.where(allowed, x, jnp.finfo(jnp.float32).min)
    for top_p in (1e-6, 0.3, 0.9, 0.999):
        kept = law(Sampling(top_p=top_p), allowed, x) > 0
        expected = nucleus_by_sorting(masked, top_p) & allowed
        np.testing.assert_array_equal(kept, expected)


def test_gradients_under_top_p_are_those_of_the_set_that_it_keeps():
    logits = jax.random.normal(jax.random.key(0), (40,))
    kept = nucleus_by_sorting(logits, 0.8)
    picked = int(jnp.argmax(logits))
    ours, expected = (
        jax.grad(lambda x: token_log_probs(x, *rest)[picked])(logits)  # noqa: B023
        for rest in ((jnp.ones(40, bool), Sampling(top_p=0.8)), (kept, Sampling()))
    )
    np.testing.assert_allclose(ours, expected, atol=1e-7)
    assert float(jnp.abs(ours).max()) > 0.01


def test_truncation_looks_at_what_grammar_and_temperature_left():
    # allowed: 0.3 0.15 0.05; squared and normalised: 0.783 0.196 0.022, so 0.9 keeps two
    allowed = jnp.array([False, True, True, True])
    expected = np.array([0, 0.09, 0.0225, 0]) / 0.1125
    np.testing.assert_allclose(law(Sampling(0.5, top_p=0.9), allowed), expected, atol=1e-6)


def test_what_may_not_be_drawn_is_finite_and_has_no_gradient():
    allowed = jnp.array([True, True, True, False])
    sampling = Sampling(0.7, top_p=0.9, top_k=3)
    assert np.isfinite(np.asarray(token_log_probs(LOGITS, allowed, sampling))).all()
    gradient = jax.grad(lambda x: token_log_probs(x, allowed, sampling)[1])(LOGITS)
    assert np.isfinite(np.asarray(gradient)).all()
    assert gradient[3] == 0


def test_rows_of_bfloat16_logits_give_float32():
    rows = jnp.stack([LOGITS, LOGITS[::-1]])[None].astype(jnp.bfloat16)
    out = token_log_probs(rows, jnp.broadcast_to(ALL, rows.shape), Sampling())
    assert (out.shape, out.dtype) == ((1, 2, 4), jnp.float32)


def test_a_penalty_makes_what_was_seen_less_likely_whatever_its_sign():
    logits = jnp.array([2.0, 1.95, -1.0, -1.02])
    seen = jnp.array([True, False, True, False])
    penalized = penalize(logits, seen, Sampling(repetition_penalty=1.05))
    # 2 / 1.05 = 1.9048 is below 1.95, -1 x 1.05 below -1.02: both pairs change places
    np.testing.assert_allclose(penalized, [1.904762, 1.95, -1.05, -1.02], atol=1e-6)
    assert (logits.argmax(), penalized.argmax()) == (0, 1)
    assert (logits[2:].argmax(), penalized[2:].argmax()) == (0, 1)


def test_a_penalty_of_one_changes_nothing():
    np.testing.assert_array_equal(penalize(LOGITS, ALL, Sampling()), LOGITS)
    assert penalize(LOGITS, None, Sampling()) is LOGITS


def test_pictures_are_not_penalized():
    logits, seen = jnp.array([[2.0, -1.0]] * 2), jnp.ones((2, 2), bool)
    found = penalize(logits, seen, Sampling(repetition_penalty=2.0), jnp.array([0, 3]))
    np.testing.assert_allclose(found, [[1, -2], [2, -1]])


def test_the_penalty_is_that_of_transformers():
    """Its RepetitionPenaltyLogitsProcessor, said again: the scores of all ids given, at once."""
    random = np.random.default_rng(0)
    scores = random.normal(size=(3, 20)).astype(np.float32)
    ids = random.integers(0, 20, (3, 9))
    given = np.take_along_axis(scores, ids, 1)
    expected = scores.copy()
    given = np.where(given < 0, given * np.float32(1.3), given / np.float32(1.3))
    np.put_along_axis(expected, ids, given, 1)
    seen = first_occurrence(jnp.asarray(ids), jnp.ones(ids.shape, bool), 20) < 9
    ours = penalize(jnp.asarray(scores), seen, Sampling(repetition_penalty=1.3))
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    assert (expected != scores).sum(axis=1).min() > 4


def test_a_token_is_first_where_it_stands_and_padding_is_no_token():
    tokens, valid = jnp.array([[0, 3, 1, 3]]), jnp.array([[False, True, True, True]])
    np.testing.assert_array_equal(first_occurrence(tokens, valid, 5), [[4, 2, 4, 1, 4]])


def test_a_config_says_how_to_draw():
    c = {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "batch_size": 8}
    assert sampling(c, "grpo") == Sampling(0.5, 0.9, 3)
    assert sampling(c | {"top_k": None, "min_p": None}, "grpo") == Sampling(0.5, 0.9)
    with_all = c | {"min_p": 0.1, "greedy": True, "repetition_penalty": 1.05}
    assert sampling(with_all, "eval") == Sampling(0.5, 0.9, 3, 0.1, True, 1.05)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("temperature", 0.0, "eval.temperature is 0.0; give a number above 0"),
        ("top_p", 1.5, "eval.top_p is 1.5; give a number above 0 and at most 1"),
        ("top_k", -1, "eval.top_k is -1; give a whole number of 1 or more; 0 or None: keeps all"),
        (
            "min_p",
            1.5,
            "eval.min_p is 1.5; give a number above 0 and at most 1; 0 or None: keeps all",
        ),
        ("repetition_penalty", 0.0, "eval.repetition_penalty is 0.0; give a number above 0"),
    ],
)
def test_numbers_that_make_no_law_are_refused(name, value, words):
    with pytest.raises(ValueError, match=words):
        sampling({name: value}, "eval")
