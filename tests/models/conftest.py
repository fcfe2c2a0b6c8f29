"""Each backbone's name, and a tiny random one; random parameters of unCLIP and CLIP."""

import pytest
from helpers import painters

BACKBONES = ("chameleon", "seed_llama", "qwen25vl")


@pytest.fixture(scope="module", params=BACKBONES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def tiny(name, request):
    return request.getfixturevalue("qwen" if name == "qwen25vl" else name)


@pytest.fixture(scope="module")
def unclip():
    return painters.unclip_params()


@pytest.fixture(scope="module")
def clip():
    return painters.clip_params()
