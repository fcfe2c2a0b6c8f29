"""Makes the tokenizer of `tiny` from the scenes' own words.

    python -m assets.make_llama_tokenizer --out tiny_tokenizer.json

A word is one token with the space before it, a tag is one token. Any text round-trips, byte by
byte. It has no image ids: they are added after its words, as they are after Llama's. Host only, no
jax.
"""

import argparse
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from mmcot_jax.tasks import scenes

MARKS = ("<unk>", "<s>", "</s>")
PIECES = r"</?\w+>| ?\w+| ?[^\w\s<]+|\s|<"


def train(texts: Iterable[str]) -> Tokenizer:
    """Returns a byte-level BPE tokenizer with a token for every piece that occurs."""
    made = Tokenizer(BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    # merges go on until every piece is whole
    trainer = BpeTrainer(
        vocab_size=100_000, min_frequency=1, special_tokens=list(MARKS), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    made.train_from_iterator(texts, trainer)
    return made


def words(count: int) -> list[str]:
    """Returns every stretch of text of `count` scenes: prompts and both chains."""
    return [
        segment
        for chain in ("multimodal", "textual")
        for example in scenes.load(count=count, chain=chain)
        for segment in (*example.prompt, *example.rationale)
        if isinstance(segment, str)
    ]


def main() -> None:
    """Writes tokenizer.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--count", type=int, default=1000, help="scenes")
    c = parser.parse_args()
    texts = words(c.count)
    tokenizer = train(texts)
    tokenizer.save(c.out)
    longest = max(len(e.ids) for e in tokenizer.encode_batch(texts))
    print(f"{c.out}: {tokenizer.get_vocab_size()} ids; the longest prompt has {longest}")


if __name__ == "__main__":
    main()
