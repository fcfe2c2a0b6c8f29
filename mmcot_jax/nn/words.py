"""Text as token ids, for the renderers of all backbones. Host only, no jax.

Axes: V vocabulary.
"""

import json
from functools import cached_property

import numpy as np
from tokenizers import Tokenizer


class TextEncoder:
    """Encodes text; a mark spelled in it, as `</s>` in a question, is encoded by its letters.

    A tokenizer finds its added tokens in any text. A unigram model, and one that ignores merges,
    also finds its other tokens.
    """

    def __init__(self, tokenizer: Tokenizer, is_text: np.ndarray):
        """`is_text`, bool [V]: ids that may stand in text; all others are marks."""
        vocab = tokenizer.get_vocab(with_added_tokens=True)
        self._tokenizer = tokenizer
        self._marks = {token: id for token, id in vocab.items() if not is_text[id]}
        self._mark_ids = set(self._marks.values())

    def __call__(self, text: str) -> list[int]:
        """Returns the ids of a text.

        Raises:
            ValueError: a mark that the tokenizer cannot encode in any other way; half a character.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            around = text[max(0, error.start - 20) : error.start + 20]
            raise ValueError(f"a text has half a character in {around!r}; write it anew") from None
        ids = self._encode(self._tokenizer, text)
        if self._mark_ids.isdisjoint(ids):
            return ids
        ids = self._encode(self._without_marks, text)
        # an unknown letter has the id of a mark too
        if found := [x for x, id in self._marks.items() if id in ids and x in text]:
            raise ValueError(
                f"a text has {found[0]!r}, which the tokenizer knows as a mark only; leave it out, "
                "or give a tokenizer with single bytes"
            )
        return ids

    @staticmethod
    def _encode(tokenizer: Tokenizer, text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    @cached_property
    def _without_marks(self) -> Tokenizer:
        content = json.loads(self._tokenizer.to_str())
        content["added_tokens"] = [
            token for token in content["added_tokens"] if token["content"] not in self._marks
        ]
        model = content["model"]
        if model["type"] == "Unigram":
            # the ids of the others stay, and any other way to spell a mark is likelier
            model["vocab"] = [[x, -1e9 if x in self._marks else p] for x, p in model["vocab"]]
        elif model["type"] != "BPE" or model.get("ignore_merges"):
            needed = model.get("unk_token")
            model["vocab"] = {
                x: id for x, id in model["vocab"].items() if x not in self._marks or x == needed
            }
        return Tokenizer.from_str(json.dumps(content))
