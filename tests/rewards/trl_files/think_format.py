"""One thought at the beginning, closed: what TRL calls think_format_reward. Reads messages."""


def think_format_reward(completions: list[list[dict[str, str]]], **kwargs) -> list[float]:
    texts = [messages[0]["content"] for messages in completions]
    opened = [text.startswith("<think>") and text.count("<think>") == 1 for text in texts]
    return [float(o and "</think>" in text) for o, text in zip(opened, texts, strict=True)]
