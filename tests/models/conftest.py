"""Each backbone's name, and a tiny random one."""

import pytest

BACKBONES = ("chameleon", "seed_llama", "qwen25vl")


@pytest.fixture(scope="module", params=BACKBONES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def tiny(name, request):
    return request.getfixturevalue("qwen" if name == "qwen25vl" else name)
