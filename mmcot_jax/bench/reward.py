"""The reward of a benchmark: it costs nothing and differs between samples."""

import zlib

from mmcot_jax.example import Example, Reply


def checksum(example: Example, reply: Reply) -> float:
    """Returns a number in [0, 1) that follows from the reply's text and its pictures' ids."""
    ids = b"".join(picture.ids.tobytes() for picture in reply.pictures)
    return zlib.crc32(reply.text.encode() + ids) / 2**32
