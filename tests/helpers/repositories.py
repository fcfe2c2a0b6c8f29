"""Names of repositories in two processes whose caches differ: `python repositories.py FOLDER`.

test_hosts.py starts it in both. Process 0 has commit A of org/a and commit A of org/half; process 1
has A and, later, B of org/a.
"""

import os
import pathlib
import sys
import time

from huggingface_hub import constants

from mmcot_jax import hosts


def cached(cache: pathlib.Path, repo: str, commit: str) -> None:
    """Writes a repository as the hub's cache holds it."""
    folder = cache / f"models--{repo.replace('/', '--')}" / "snapshots" / (commit * 40)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text(commit)
    time.sleep(0.02)


def main(argv) -> int:
    hosts.initialize()
    from mmcot_jax import models

    process = os.environ["JAX_PROCESS_ID"]
    cache = pathlib.Path(argv[0]) / process
    constants.HF_HUB_OFFLINE, constants.HF_HUB_CACHE = True, str(cache)
    for repo, commits in (
        ("org/a", ("a", "ab")[int(process)]),
        ("org/half", ("a", "")[int(process)]),
    ):
        for commit in commits:
            cached(cache, repo, commit)
    assert models.resolve("org/a", __file__).name == "a" * 40
    try:
        models.resolve("org/half", __file__)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    hosts.run_and_exit(main, sys.argv[1:])
