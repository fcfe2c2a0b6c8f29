"""VQA's normal form of short answers."""

import pytest

from mmcot_jax.answers.vqa import CONTRACTIONS, normalize, normalize_text_vqa


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        # number words and articles
        ("Two", "2"),
        ("none", "0"),
        ("ten dogs", "10 dogs"),
        ("eleven", "eleven"),
        ("The red car", "red car"),
        ("a", ""),
        ("an apple a day", "apple day"),
        # contractions lack one apostrophe
        ("dont", "don't"),
        ("isnt it", "isn't it"),
        ("couldnt've", "couldn't've"),
        ("couldntve", "couldntve"),
        ("yall", "y'all"),
        ("oclock", "o'clock"),
        ("somebody'd", "somebodyd"),
        ("lets", "lets"),
        # full stops go, except before a digit
        ("Yes.", "yes"),
        ("1.5", "1.5"),
        ("u.s.a.", "usa"),
        (".5", ".5"),
        ("5.", "5"),
        # a comma between digits removes all marks; else a mark inside a word is a space
        ("1,000", "1000"),
        ("1,000-2,000", "10002000"),
        ("red,white", "red white"),
        ("red, white", "red white"),
        ("red-white", "red white"),
        ("red - white", "red white"),
        # a hyphen beside a space anywhere: all hyphens are removed
        ("t-shirt - red", "tshirt red"),
        ("what?", "what"),
        ("(left)", "left"),
        ("black/white", "black white"),
        ("it's", "it's"),
        ("10:30", "10:30"),
        ("  New\nYork\t", "new york"),
        ("", ""),
    ],
)
def test_an_answer_in_vqas_normal_form(answer, normal):
    assert normalize(answer) == normal


def test_textvqa_removes_commas_first_and_splits_possessives():
    assert normalize_text_vqa("red,white") == "redwhite"
    assert normalize_text_vqa("Ted's, Two?") == "ted 's 2"
    assert normalize_text_vqa("The Coca-Cola") == "coca cola"


def test_the_table_has_the_official_114_effective_contractions():
    assert len(CONTRACTIONS) == 114
    assert CONTRACTIONS["hed've"] == CONTRACTIONS["he'dve"] == "he'd've"
    assert "hedve" not in CONTRACTIONS
