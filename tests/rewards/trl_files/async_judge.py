"""A judge that is asked at most twice at once: the semaphore is made when the file is loaded."""

import asyncio

AT_ONCE = asyncio.Semaphore(2)


async def judge(text: str, answer: str) -> float:
    async with AT_ONCE:
        await asyncio.sleep(0.001)
        return float(answer in text)


async def judged(completions, answer, log_metric, **kwargs):
    pairs = zip(completions, answer, strict=True)
    scores = await asyncio.gather(*(judge(text, right) for text, right in pairs))
    log_metric("judged", len(scores))
    return scores
