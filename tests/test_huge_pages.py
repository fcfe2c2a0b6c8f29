"""Commands start again once, with an allocator that asks for huge pages."""

import os
import subprocess
import sys

import pytest

CODE = """
import os, sys
from mmcot_jax import huge_pages
print("started")
sys.stdout.flush()
huge_pages.use()
print(os.environ["GLIBC_TUNABLES"], *sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")
@pytest.mark.parametrize(
    ("given", "starts", "expected"),
    [
        (None, 2, "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.check=0", 2, "glibc.malloc.check=0:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", 1, "glibc.malloc.hugetlb=0"),
    ],
)
def test_python_starts_again_once_with_the_same_arguments(given, starts, expected):
    env = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    env |= {} if given is None else {"GLIBC_TUNABLES": given}
    command = [sys.executable, "-c", CODE, "a b", "--c=d"]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["started"] * starts + [f"{expected} a b --c=d"]


def test_elsewhere_nothing_happens(monkeypatch):
    from mmcot_jax import huge_pages

    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(huge_pages.sys, "platform", "darwin")
    monkeypatch.setattr(huge_pages.os, "execv", lambda *a: pytest.fail("started again"))
    huge_pages.use()
