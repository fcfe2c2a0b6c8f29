"""Repositories of the Hugging Face hub: found in the local cache, downloaded, uploaded to."""

import contextlib
import json
import pathlib
import re

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

UNUSED = ("*.msgpack", "*.h5", "*.ot", "*.onnx", "*.tflite", "onnx/*", "original/*")
"""Files of a repository that nothing here reads."""
TWICE = ("pytorch_model*.bin", "pytorch_model*.bin.index.json")
"""Weights that are not downloaded where the same are there as safetensors."""


def is_name(name: str) -> bool:
    """Returns whether a name has the form ORGANISATION/REPOSITORY."""
    return bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name))


def find(repo: str, revision: str = "") -> pathlib.Path | None:
    """Returns the folder of a repository in the local cache, if all that it lists is there.

    A cache that was filled file by file, by transformers say, lists nothing: see `has_weights`.
    Without a revision it is that of the branch `main`, or else the last one downloaded.
    """
    for commit in [revision] if revision else ["main", *_commits(repo)]:
        for unused in ((*UNUSED, *TWICE), UNUSED):
            try:
                found = huggingface_hub.snapshot_download(
                    repo, revision=commit, local_files_only=True, ignore_patterns=list(unused)
                )
            except LocalEntryNotFoundError:
                continue
            if unused == UNUSED or any(pathlib.Path(found).glob("*.safetensors")):
                return pathlib.Path(found)
    return None


def has_weights(folder: pathlib.Path) -> bool:
    """Returns whether a folder has weights, and every file of an index of theirs if it has one."""
    indices = [*folder.rglob("*.safetensors.index.json"), *folder.rglob("*.bin.index.json")]
    for index in indices:
        with contextlib.suppress(ValueError, KeyError, AttributeError):
            names = set(json.loads(index.read_text())["weight_map"].values())
            if all((index.parent / name).is_file() for name in names):
                return True
    return not indices and any(path.suffix in _WEIGHTS for path in folder.rglob("*"))


_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf")


def _commits(repo: str) -> list[str]:
    """Returns the commits of a repository in the local cache, the last one downloaded first."""
    cache = pathlib.Path(constants.HF_HUB_CACHE)
    folders = (cache / f"models--{repo.replace('/', '--')}" / "snapshots").glob("*")
    return [f.name for f in sorted(folders, key=lambda f: f.stat().st_mtime, reverse=True)]


def newest(repo: str) -> str:
    """Returns the commit of a repository that is in the local cache, or the hub's newest.

    Raises:
        ValueError: there is no such repository, or the hub cannot be reached.
    """
    if found := find(repo):
        return found.name
    try:
        return huggingface_hub.HfApi().model_info(repo).sha
    except Exception as error:  # its own errors, and its HTTP library's
        raise ValueError(_refusal(repo, error)) from None


def download(repo: str, revision: str, weights: bool = True) -> pathlib.Path:
    """Returns a folder with a repository's files, those of the local cache or downloaded.

    With `weights`, a folder of the cache that has none is completed.

    Raises:
        ValueError: there is no such repository or revision, or the hub cannot be reached.
    """
    found = find(repo, revision)
    if found and (has_weights(found) or not weights):
        return found
    try:
        names = huggingface_hub.HfApi().list_repo_files(repo, revision=revision)
        twice = TWICE if any(name.endswith(".safetensors") for name in names) else ()
        folder = huggingface_hub.snapshot_download(
            repo, revision=revision, ignore_patterns=[*UNUSED, *twice]
        )
    except Exception as error:
        raise ValueError(_refusal(repo, error)) from None
    return pathlib.Path(folder)


def _refusal(repo: str, error: Exception) -> str:
    if isinstance(error, GatedRepoError):
        page = f"https://huggingface.co/{repo}"
        return f"{repo} is gated; accept its licence at {page} and log in with `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{repo} is no folder here and no repository of the Hugging Face hub; check the name, "
            "or log in with `hf auth login` if it is private"
        )
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f"{repo} is no folder here and not in the Hugging Face cache, and the hub cannot be "
        f"reached ({reason}); `hf download {repo}` puts it there"
    )


def check_name(repo: str) -> None:
    """Raises a `ValueError` if no repository can have the name."""
    if not is_name(repo):
        raise ValueError(f"--push is {repo!r}; give NAME/REPOSITORY, as on huggingface.co")


def push(out: pathlib.Path, repo: str, dry_run: bool = False) -> list[str]:
    """Uploads a folder to a repository, private if it is new.

    Returns a line per file, its size and name, and the address; with `dry_run` nothing is sent.

    Raises:
        ValueError: a name that is no repository's, or the hub refuses.
    """
    check_name(repo)
    files = sorted(path for path in out.rglob("*") if path.is_file())
    lines = [f"{path.stat().st_size:>14,}  {path.relative_to(out)}" for path in files]
    if dry_run:
        return [*lines, f"would be uploaded to {repo}"]
    api = huggingface_hub.HfApi()
    try:
        api.create_repo(repo, private=True, exist_ok=True)
        address = api.upload_folder(
            repo_id=repo, folder_path=out, commit_message="Exported by mmcot_jax"
        ).commit_url
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{repo} was not uploaded ({reason}); log in with `hf auth login`, then "
            f"`hf upload {repo} {out}` repeats this step"
        ) from None
    return [*lines, f"uploaded to {address}"]
