"""Has the allocator ask Linux for huge pages of memory."""

import os
import sys

TUNABLE = "glibc.malloc.hugetlb"


def use() -> None:
    """Starts this Python again with glibc's allocator asking for huge pages; returns if it does.

    On a CPU, XLA gives its buffers back after each program and asks for them in the next one. With
    pages of 4 KiB an SFT step of `m2m.py:tiny` has 120,000 page faults, a seventh of its time; with
    huge pages it has 500. The allocator reads the setting before Python runs, so there is no way
    without a new start. GLIBC_TUNABLES=glibc.malloc.hugetlb=0 keeps small pages. Elsewhere than on
    Linux nothing happens, and other allocators than glibc's of 2.35 or later ignore the setting.
    """
    given = os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform != "linux" or TUNABLE in given:
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, (given, f"{TUNABLE}=1")))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
