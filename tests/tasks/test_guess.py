"""Which chains guess, and what."""

import collections

from mmcot_jax.tasks._guess import guess

IDS = [f"kind/train/{number:05}" for number in range(1000)]


def test_the_share_is_met_and_every_option_is_guessed_as_often():
    for share, least, most in ((0.0, 0, 0), (0.3, 240, 360), (1.0, 1000, 1000)):
        guessed = [g for id in IDS if (g := guess(id, share, "ABCD"))]
        assert least <= len(guessed) <= most
    assert all(200 < n < 300 for n in collections.Counter(guessed).values())


def test_more_guesses_are_those_of_fewer_and_some():
    few, more = ([guess(id, share, "ABCD") for id in IDS] for share in (0.3, 0.6))
    assert all(b == a for a, b in zip(few, more, strict=True) if a)
