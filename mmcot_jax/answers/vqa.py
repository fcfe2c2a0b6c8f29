"""The normal form in which VQA's evaluation compares short answers. Host only, no jax.

Source: the evaluation of arXiv 1612.00837 (VQA v2), which TextVQA's and VizWiz' follow.
"""

import re

NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
"""Number words, by which "two" equals "2"."""
ARTICLES = ("a", "an", "the")
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
"""Marks that are removed; the apostrophe and the full stop are not among them."""
_DIGITS_COMMA = re.compile(r"\d,\d")
_STOP = re.compile(r"\.(?!\d)")

# The contractions that may be written without one of their apostrophes.
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
    might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
    shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
    someone's something'd something'd've something'll that's there'd there'd've there're there's
    they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're
    what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're
    why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're
    you've
"""
CONTRACTIONS = {
    word[:at] + word[at + 1 :]: word
    for word in _CONTRACTIONS.split()
    for at, character in enumerate(word)
    if character == "'"
} | {"somebody'd": "somebodyd"}
"""A contraction without one apostrophe -> the contraction. The last one is the official table's."""


def normalize(answer: str) -> str:
    """Returns an answer in VQA's normal form.

    "The two dogs." becomes "2 dogs", "dont" becomes "don't", "1,000" becomes "1000", "red-white"
    becomes "red white", and "red - white" becomes "red white" too.
    """
    text = answer.replace("\n", " ").replace("\t", " ").strip()
    words = (NUMBERS.get(word, word) for word in _remove_marks(text).lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def normalize_text_vqa(answer: str) -> str:
    """Returns an answer in the normal form of TextVQA and VizWiz.

    Before `normalize`, commas and question marks are removed and a possessive becomes a word of its
    own: "Ted's" becomes "ted 's".
    """
    lower = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return normalize(lower.strip())


def _remove_marks(text: str) -> str:
    """Removes marks beside a space, and all marks if a comma is between digits.

    Elsewhere a mark becomes a space. A full stop stays before a digit: "1.5".
    """
    in_number = _DIGITS_COMMA.search(text) is not None
    found = text
    for mark in _MARKS:
        beside_space = f"{mark} " in text or f" {mark}" in text
        found = found.replace(mark, "" if in_number or beside_space else " ")
    return _STOP.sub("", found)
