"""Makes the tokenizer of `tiny` from the puzzles' own words.

    python -m assets.make_chameleon_tokenizer --out tokenizer.json

Each part that varies between puzzles (a colour, a size, a shape, a digit, a letter) is one token;
each stretch of words between two of them is one token as well, so a chain of fifteen hundred
characters is about a hundred tokens. Any text round-trips, byte by byte. Host only, no jax.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import Unigram

from mmcot_jax.tasks import puzzlevqa
from mmcot_jax.tasks.puzzlevqa import chain

COLORS = "red|orange|yellow|green|blue|purple|pink|gray|grey|brown|black|white"
SIZES = "small|medium|large|short|long"
SHAPES = "triangle|square|pentagon|hexagon|heptagon|octagon|circle|rectangle|diamond|star"
# a word includes the space or the comma before it, a header the line breaks around it; an option is
# one token with its letter, so that finding a word among the options is finding its letter
VARIES = "|".join(
    (
        r"\n?\([A-D]\) [^\n()]+(?=\n|$)",
        r"\n*# [^\n]*\n+|\n+",
        r"(?:, | )?'(?:\?|[a-z]+)'",
        r"(?:, | )?\d",
        rf" ?\b(?:{COLORS}|{SIZES}|{SHAPES})(?:e?s)?\b",
        r" ?\([A-D]\)",
    )
)


def special(codes: int) -> list[str]:
    """Returns marks and image ids, named as in Chameleon's own tokenizer, in order of id."""

    def name(code: int) -> str:
        return "IMGIMG" + "".join(chr(ord("A") + int(digit)) for digit in str(code)) + "Z"

    return ["<s>", "<pad>", "</s>", "<unk>", *map(name, range(codes)), "<eoss>", "<racm3:break>"]


def train(texts: Iterable[str], codes: int, vocab: int) -> Tokenizer:
    """Returns a byte-level unigram tokenizer of at most `vocab` ids, image ids included.

    Its tokens are the pieces themselves, the most frequent first, and all single bytes.
    """
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(VARIES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    counts = Counter(piece for text in texts for piece, _ in split.pre_tokenize_str(text))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    marks = special(codes)
    pieces = [p for p, _ in sorted(counts.items(), key=lambda x: (-x[1], x[0])) if len(p) > 1]
    pieces = pieces[: vocab - len(marks) - len(alphabet)]
    # a piece costs 1, a byte 10: the fewest pieces win
    scores = [(token, 0.0) for token in marks]
    scores += [(byte, -10.0) for byte in alphabet] + [(piece, -1.0) for piece in pieces]
    tokenizer = Tokenizer(Unigram(scores, unk_id=marks.index("<unk>")))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def words(kinds: Sequence[str], count: int) -> list[str]:
    """Returns every stretch of text of `count` puzzles per kind: prompts and both chains."""
    found: list[str] = []
    for name in kinds:
        kind = puzzlevqa.KINDS[name]
        for puzzle in puzzlevqa.plan([name], count=count, seed=1, test_count=1):
            segments = [*chain.textual(kind, puzzle.scene)]
            if kind.multimodal:
                segments += chain.multimodal(kind, puzzle.scene, size=16)
            example = puzzlevqa.make_example(puzzle, size=16, chain="none", wording="corrected")
            found += [s for s in (*example.prompt, *segments) if isinstance(s, str)]
    return found


def main() -> None:
    """Writes tokenizer.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--codes", type=int, default=1024, help="size of the VQGAN's codebook")
    parser.add_argument("--vocab", type=int, default=1792)
    parser.add_argument("--count", type=int, default=200, help="puzzles a kind")
    c = parser.parse_args()
    texts = words(list(puzzlevqa.KINDS), c.count)
    tokenizer = train(texts, c.codes, c.vocab)
    tokenizer.save(c.out)
    ids = sum(len(e.ids) for e in tokenizer.encode_batch(texts))
    each = sum(map(len, texts)) / ids
    print(f"{c.out}: {tokenizer.get_vocab_size()} ids, {each:.1f} characters a token")


if __name__ == "__main__":
    main()
