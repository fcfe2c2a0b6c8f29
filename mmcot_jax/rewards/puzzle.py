"""What a reply says: the letter it answers, the form it has, and the rewards for both.

A reward scores any text a model can write; a question it cannot score is a fault of the data.
"""

import re
from collections.abc import Sequence

from mmcot_jax.example import Example, Reply

# A letter stands alone: not the B of "Based", not the a of "a mystery", not one of "(A) (B) (C)".
_BARE = r"(?<!\w)(?!a\s+\w)([A-Za-z])(?!\w|[-'’]\w)"
_ROUND = r"\(\s*([A-Za-z])\s*\)"
_ONE_OF_MANY = r"(?! *(?:,|/|&|and\b|or\b| )*\([A-Za-z]\)| *(?:,|/|&|and\b|or\b) *[A-Z]\b)"
# `is: **`, `:`, ` = `, `>`; a full stop or a new heading in between ends the statement.
_IS = r"[\s*_]*(?:(?i:is|was|would\s+be|should\s+be|must\s+be)\b|[:=>-])"
_NOISE = r"[^\w.!?;#(]*(?:(?i:option|choice|letter)\b[^\w.!?;#(]*)?"
# "is: green (B)": the option's words may come before its letter.
_WORDS = r"(?:(?!\bnot\b|\bnor?\b)(?:[^().!?;\n]|\.\d)){0,60}?"
_ABOUT = r"(?:\s+(?:to|for|of)\s[^().!?;:\n]{0,60}?)?"
_CUE = rf"(?i:\banswer|\b(?:correct|right|best)\s+(?:option|choice)){_ABOUT}{_IS}"
_AFTER = (
    rf"(?:{_CUE}{_NOISE}(?:{_BARE}|{_WORDS}{_ROUND})"
    rf"|(?i:\bfinal\s+answer)(?:\s+of\b)?{_NOISE}(?:{_BARE}|{_ROUND})){_ONE_OF_MANY}"
)
_BEFORE = (
    r"(?:(?<![\w'’(])([A-Z])|\(\s*([A-Za-z])\s*\))\s+(?i:is)\s+(?i:the)\s+"
    r"(?i:(?:correct|right|best|final)\s+)*(?i:answer|option|choice)\b(?!\s*[:=])"
)
_STATEMENT = re.compile(rf"{_AFTER}|{_BEFORE}")


def parse_strict(text: str, options: int = 4) -> str | None:
    """The last stated answer, as an upper-case letter; None when there is none.

    Read as statements: "the answer is: (C).", "Final Answer: B", "answer is d", "The answer is:
    green (B)", "(B) is the correct answer". Not read: letters inside words ("Final Answer: Based
    on"), the article ("the answer is a mystery"), several letters at once ("is (A) or (B)"),
    negations. None also when the last statement names a letter beyond the `options` there are.
    """
    letters = [
        letter.upper()
        for statement in _STATEMENT.finditer(text)
        for letter in statement.groups()
        if letter
    ]
    return letters[-1] if letters and ord(letters[-1]) - ord("A") < options else None


_REFERENCE = tuple(
    re.compile(pattern + r"[:\-]?\s*\(?([A-D])\)?", re.IGNORECASE)
    for pattern in (r"answer\s*is", r"final\s*answer", r"correct\s*(?:option|choice|answer)")
)


def parse_reference(text: str) -> str | None:
    """The letter the study's scoring reads in prompt and reply together, in the case it has there.

    The first of three patterns that matches anywhere wins, at its first place, also inside a word:
    "Final Answer: Based on" gives B. Kept as it was, to compare with the study's numbers.
    """
    text = " ".join(text.split())
    for pattern in _REFERENCE:
        if found := pattern.search(text):
            return found[1]
    return None


def option_of(letter: str | None, options: Sequence[str]) -> str:
    """The option an upper-case letter names; "" when it names none, which no answer equals."""
    place = ord(letter) - ord("A") if letter else -1
    return options[place] if 0 <= place < len(options) else ""


# ---- rewards -------------------------------------------------------------------------------------


def accuracy(example: Example, reply: Reply) -> float:
    """1.0 where the last stated letter is the answer's, else 0.0.

    Raises:
        ValueError: the example's answer is none of its options' letters.
    """
    options = _options(example)
    return float(parse_strict(reply.text, len(options)) == example.answer)


_FINAL = "# Final Answer:"
_OPTION = re.compile(r"^# Option ([A-Z])$", re.MULTILINE)


def format(example: Example, reply: Reply) -> float:
    """1.0 for a chain of the taught form, else 0.0: a pattern, options or none, a final answer.

    Options come all, once each, in order, with one picture each, or not at all (the textual
    chain); "# Final Answer:" comes once and states one of the letters.

    Raises:
        ValueError: as `accuracy`.
    """
    return float(_options_drawn(example, reply) in (0, len(_options(example))))


def format_drawn(example: Example, reply: Reply) -> float:
    """`format` with a picture for every option: 1.0 or 0.0.

    Raises:
        ValueError: as `accuracy`.
    """
    return float(_options_drawn(example, reply) == len(_options(example)))


def _options_drawn(example: Example, reply: Reply) -> int:
    """How many options a well-formed chain draws; -1 for one that is not well formed."""
    options, text = _options(example), reply.text
    reasoning, *final = text.split(_FINAL)
    if len(final) != 1 or not parse_strict(_FINAL + final[0], len(options)):
        return -1
    pattern, *names_and_parts = _OPTION.split(reasoning)
    names, parts = names_and_parts[::2], names_and_parts[1::2]
    drawn = [part.count("<image>") for part in parts]
    letters = [chr(ord("A") + i) for i in range(len(options))]
    whole = pattern.strip() and "<image>" not in pattern + final[0]
    if not whole or drawn != [1] * len(parts) or names not in ([], letters):
        return -1
    return len(parts)


def _options(example: Example) -> Sequence[str]:
    options = example.extra.get("options", ())
    letters = [chr(ord("A") + i) for i in range(len(options))]
    if example.answer not in letters:
        raise ValueError(
            f"example {example.id!r} has the answer {example.answer!r} and {len(options)} options; "
            "give extra['options'] and the letter of one of them"
        )
    return options
