"""Costs of calls, by hand."""

import pytest

from mmcot_jax.outside.prices import Part, describe, dollars, total


def test_tokens_are_paid_by_the_million_and_pictures_by_the_piece():
    chat = Part("gpt-4o", 10, 0, input_tokens=2_000_000, output_tokens=100_000)
    drawn = Part("dall-e-3", 25, pictures=True)
    assert (chat.cost, drawn.cost) == (6.0, pytest.approx(1.0))
    assert total([chat, drawn]) == pytest.approx(7.0)


def test_a_model_without_a_price_makes_the_sum_unknown_unless_nothing_is_asked():
    own = Part("my-own", 3, 0, 100, 10)
    assert own.cost is None and total([own]) is None
    assert total([own._replace(calls=0)]) == 0.0
    assert "estimated cost: unknown" in describe([own])


def test_less_than_a_cent_is_not_nothing():
    assert [dollars(x) for x in (None, 0.0, 0.0045, 0.5, 1234.5)] == [
        "unknown",
        "$0.00",
        "$0.0045",
        "$0.50",
        "$1,234.50",
    ]
