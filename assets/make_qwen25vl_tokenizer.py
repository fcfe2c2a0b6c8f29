"""Makes the tokenizer of `tiny` from the words of toy images.

    python -m assets.make_qwen25vl_tokenizer --out tokenizer.json

Every whole number below 400 and every word is one token, an option is one token with its letter.
Any text round-trips, byte by byte. Host only, no jax.
"""

import argparse
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import Unigram

from mmcot_jax.boxes import Box, Space
from mmcot_jax.models.qwen25vl.render import MARKS
from mmcot_jax.tasks import shapes
from mmcot_jax.tasks._grounded import PROMPTS

NUMBERS = 400
"""Coordinates are below this in the widest images of tiny models."""
# an option is one token with its letter, so that finding a word among the options is finding its
# letter; a tag includes the space before it
VARIES = "|".join(
    (
        r" ?\([A-D]\) [a-z0-9]+(?=[ .])",
        r" ?</?(?:think|answer)>",
        r"\d{1,3}",
        r" ?[A-Za-z]+",
        r"\n",
        r" ?[^\w\s]",
    )
)
# people's words for drawn shapes
COMMON = (
    "above all alternately an and another are at atleast attached base below between bigger black "
    "block blocks blue bottom box boxes center circle circles closely color colors contains "
    "corner different does edge each end every exactly false field five four from grey has have "
    "having height how image in is it item items large least left many medium middle more most "
    "multiple nearly not nothing object objects of on one only or other over right same sentence "
    "shape shapes side sizes small square squares stacked than that the their them there this "
    "three to top touching tower towers triangle triangles true two under wall which with without "
    "yellow yes no options question picture system user assistant you helpful red green"
)


def train(texts: Iterable[str]) -> Tokenizer:
    """Returns a byte-level unigram tokenizer: marks, bytes, numbers, and the pieces of `texts`."""
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(VARIES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    pieces = {piece: None for text in texts for piece, _ in split.pre_tokenize_str(text)}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    marks = list(MARKS.values())
    known = [*marks, *alphabet]
    longer = [piece for piece in pieces if piece not in known]
    # a piece costs 1, a byte 10: the fewest pieces win
    scores = [(token, 0.0) for token in marks]
    scores += [(byte, -10.0) for byte in alphabet] + [(piece, -1.0) for piece in longer]
    tokenizer = Tokenizer(Unigram(scores, unk_id=0))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in marks])
    return tokenizer


def words() -> list[str]:
    """Returns numbers, notes, common words, and the texts of toy questions in both forms."""
    space = Space("original", NUMBERS, NUMBERS)
    found = [Box("black", n, n, n, n, space).notation for n in range(NUMBERS)]
    found += [f"{word} {word} {word.capitalize()} {word.capitalize()}" for word in COMMON.split()]
    found += [f"{target} (A) true (B) false." for target in PROMPTS]
    found += ["system\nYou are a helpful assistant.", "user\n", "assistant\n"]
    for boxes in (True, False):
        for example in shapes.load(list(shapes.KINDS), count=100, size=24, boxes=boxes):
            found += [s for s in (*example.prompt, *example.rationale) if isinstance(s, str)]
    return found


def main() -> None:
    """Writes tokenizer.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True)
    c = parser.parse_args()
    texts = words()
    tokenizer = train(texts)
    tokenizer.save(c.out)
    ids = sum(len(e.ids) for e in tokenizer.encode_batch(texts))
    each = sum(map(len, texts)) / ids
    print(f"{c.out}: {tokenizer.get_vocab_size()} ids, {each:.1f} characters a token")


if __name__ == "__main__":
    main()
