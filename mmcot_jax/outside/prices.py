"""Prices of outside models, in dollars, and costs of calls."""

import math
from collections.abc import Iterable
from typing import NamedTuple

AS_OF = "May 2026"
"""Date of the prices; `dall-e-3` was withdrawn from OpenAI's servers in that month."""


class TokenPrice(NamedTuple):
    """Dollars for a million tokens."""

    input: float
    output: float


_GPT_4O, _GPT_41 = TokenPrice(2.50, 10.00), TokenPrice(2.00, 8.00)
TOKENS = {
    "gpt-4o": _GPT_4O,
    "gpt-4o-2024-08-06": _GPT_4O,
    "gpt-4o-2024-11-20": _GPT_4O,
    "gpt-4o-mini": TokenPrice(0.15, 0.60),
    "gpt-4.1": _GPT_41,
    "gpt-4.1-2025-04-14": _GPT_41,
    "gpt-4.1-mini": TokenPrice(0.40, 1.60),
}
"""Model -> price of its tokens, without discounts for cached input or batches."""
PICTURES = {"dall-e-3": 0.040}
"""Model -> price of a picture of 1024 x 1024 pixels in standard quality."""

CHARACTERS_PER_TOKEN = 4.0
"""Of English text in the tokenizers of these models."""
PICTURE_TOKENS = 765
"""Of a picture of 1024 x 1024 pixels in a prompt of gpt-4o: 85 and 4 tiles of 170."""


def text_tokens(text: str) -> int:
    """Estimates the tokens of an English text."""
    return round(len(text) / CHARACTERS_PER_TOKEN)


class Part(NamedTuple):
    """Calls of one model: their number and their tokens, estimated or counted."""

    model: str
    calls: int
    kept: int = 0
    """Replies that are there from before, which no call is made for."""
    input_tokens: int = 0
    output_tokens: int = 0
    pictures: bool = False
    """True for a model that draws and is paid by the picture."""

    @property
    def cost(self) -> float | None:
        """The price in dollars; None for a model without a price here."""
        if self.pictures:
            price = PICTURES.get(self.model)
            return None if price is None else self.calls * price
        price = TOKENS.get(self.model)
        if price is None:
            return None
        return (self.input_tokens * price.input + self.output_tokens * price.output) / 1e6


def total(parts: Iterable[Part]) -> float | None:
    """Returns the price of all calls; None if that of one is unknown."""
    costs = [part.cost for part in parts if part.calls]
    return None if None in costs else math.fsum(costs)


def describe(parts: Iterable[Part]) -> str:
    """Returns one line a model, with calls, tokens and price, and the sum."""
    parts = list(parts)
    lines = []
    for part in parts:
        what = "pictures" if part.pictures else "replies"
        tokens = f", about {part.input_tokens:,} tokens in and {part.output_tokens:,} out"
        lines.append(
            f"{part.model}: {part.calls:,} calls, {part.kept:,} {what} kept from before"
            f"{'' if part.pictures else tokens}: {dollars(part.cost)}"
        )
    lines.append(f"estimated cost: {dollars(total(parts))} (prices of {AS_OF}, without retries)")
    return "\n".join(lines)


def dollars(cost: float | None) -> str:
    """Returns "$1.20", "$0.0045" of less than a cent, or "unknown"."""
    if cost is None:
        return "unknown"
    return f"${cost:.4f}" if 0 < cost < 0.01 else f"${cost:,.2f}"
