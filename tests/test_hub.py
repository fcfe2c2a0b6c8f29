"""The hub's protocol, spoken by a server on this machine."""

import http.server
import json
import os
import pathlib
import threading
import urllib.parse

import pytest
from huggingface_hub import constants

from mmcot_jax import hub, models

SHA = "1" * 40


class Hub:
    """Repositories by name, their files by name, and what was sent."""

    def __init__(self):
        self.repos, self.sent, self.asked = {}, [], []


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A hub on this machine, and an empty cache."""
    state = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, value, status=200, **headers):
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), text)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self):
            path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)
            state.asked.append(path)
            name = next((n for n in state.repos if f"/{n}" in path), None)
            if name is None:
                return self.answer({"error": "no"}, 404, X_Error_Code="RepoNotFound")
            files = state.repos[name]
            if files == "gated":
                return self.answer({"error": "no"}, 403, X_Error_Code="GatedRepo")
            if "/resolve/" in path:
                file = path.split(f"{SHA}/")[1]
                return self.answer(files[file], ETag=f'"{hash(file)}"', X_Repo_Commit=SHA)
            if "/tree/" in path:
                entries = [
                    {"type": "file", "path": n, "size": len(x), "oid": "2" * 40}
                    for n, x in files.items()
                ]
                return self.answer(entries)
            siblings = [{"rfilename": n} for n in files]
            return self.answer({"id": name, "sha": SHA, "siblings": siblings})

        do_HEAD = do_GET

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.sent.append((self.path, body))
            if "repos/create" in self.path:
                answer = {"url": f"{url}/me/model", "name": "me/model", "id": "me/model"}
            elif "preupload" in self.path:
                names = [file["path"] for file in json.loads(body)["files"]]
                files = [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]
                answer = {"files": files}
            else:
                answer = {"commitUrl": f"{url}/me/model/commit/1", "commitOid": "1"}
            self.answer(answer, Content_Type="application/json")

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{running.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    yield state
    running.shutdown()
    running.server_close()


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def test_a_repository_is_downloaded_once_and_then_found(server):
    server.repos["org/llama"] = {
        "config.json": b"{}",
        "model.safetensors": b"weights",
        "pytorch_model.bin": b"the same",
        "onnx/model.onnx": b"another form",
    }
    folder = hub.download("org/llama", hub.newest("org/llama"))
    assert folder.name == SHA
    assert sorted(os.listdir(folder)) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    server.asked.clear()
    assert hub.newest("org/llama") == SHA and hub.download("org/llama", SHA) == folder
    assert models.resolve("org/llama", __file__) == folder
    assert server.asked == []  # what is here is not looked for there


def test_torchs_weights_are_downloaded_where_there_are_no_others(server):
    server.repos["org/seed"] = {"pytorch_model.bin": b"weights", "config.json": b"{}"}
    folder = models.resolve("org/seed", __file__)
    assert sorted(os.listdir(folder)) == ["config.json", "pytorch_model.bin"]
    assert hub.find("org/seed") == folder


def test_a_download_that_was_cut_goes_on(server):
    server.repos["org/cut"] = {"config.json": b"{}", "model.safetensors": b"weights"}
    folder = hub.download("org/cut", SHA)
    (folder / "model.safetensors").unlink()
    assert hub.find("org/cut") is None
    assert (hub.download("org/cut", SHA) / "model.safetensors").read_bytes() == b"weights"


def test_a_cache_with_a_tokenizer_alone_is_completed_where_the_hub_is_reached(server, monkeypatch):
    files = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"weights"}
    server.repos["org/new"] = files
    cache = pathlib.Path(constants.HF_HUB_CACHE) / "models--org--new"
    for path, text in {f"snapshots/{SHA}/tokenizer.json": "{}", "refs/main": SHA}.items():
        (cache / path).parent.mkdir(parents=True, exist_ok=True)
        (cache / path).write_text(text)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    alone = models.resolve("org/new", __file__, weights=False)
    assert sorted(os.listdir(alone)) == ["tokenizer.json"]
    with pytest.raises(ValueError, match="org/new is no folder here and not in the Hugging Face"):
        models.resolve("org/new", __file__)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert sorted(os.listdir(models.resolve("org/new", __file__))) == sorted(files)


def test_weights_are_there_if_the_files_of_an_index_are(tmp_path):
    assert not hub.has_weights(tmp_path)
    (tmp_path / "a.safetensors").touch()
    assert hub.has_weights(tmp_path)
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert not hub.has_weights(tmp_path)
    (tmp_path / "tf_model.h5.index.json").write_text("{}")
    (tmp_path / "b.safetensors").touch()
    assert hub.has_weights(tmp_path)


def test_a_repository_that_is_not_there_or_gated_is_one_line(server):
    server.repos["org/gated"] = "gated"
    with pytest.raises(
        ValueError, match=r"org/gated is gated; accept its licence at https.*auth l"
    ):
        models.resolve("org/gated", __file__)
    with pytest.raises(ValueError, match=r"org/none is no folder here and no repository of the"):
        models.resolve("org/none", __file__)


def test_without_the_hub_the_command_that_downloads_is_named(offline):
    with pytest.raises(ValueError) as error:
        models.resolve("Qwen/Qwen2.5-VL-7B-Instruct", __file__)
    assert str(error.value).startswith("Qwen/Qwen2.5-VL-7B-Instruct is no folder here and not in")
    assert str(error.value).endswith("; `hf download Qwen/Qwen2.5-VL-7B-Instruct` puts it there")
    assert "\n" not in str(error.value)


def test_a_folder_of_that_name_goes_first(offline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qwen" / "weights").mkdir(parents=True)
    assert str(models.resolve("qwen/weights", __file__)) == "qwen/weights"


@pytest.mark.parametrize("name", ["folder", "/a/b", "a/b/c", "./a", "../a", "a/", "a b/c", "-a/b"])
def test_other_paths_are_no_names_of_repositories(name):
    assert not hub.is_name(name)


# --- uploads -----------------------------------------------------------------------------------


def test_a_folder_is_pushed(server, tmp_path):
    (tmp_path / "README.md").write_text("# a card\n")
    (tmp_path / "config.json").write_text("{}\n")
    lines = hub.push(tmp_path, "me/model")
    assert lines[0].endswith("9  README.md") and lines[-1].startswith("uploaded to http://127.0.0")
    created, commit = server.sent[0], server.sent[-1]
    assert created[0] == "/api/repos/create" and json.loads(created[1])["visibility"] == "private"
    assert commit[0].startswith("/api/models/me/model/commit/main")
    sent = [json.loads(line)["value"] for line in commit[1].splitlines()]
    assert [value.get("path") for value in sent] == [None, "README.md", "config.json"]


def test_a_dry_run_lists_and_sends_nothing(server, tmp_path):
    (tmp_path / "README.md").write_text("# a card\n")
    lines = hub.push(tmp_path, "me/model", dry_run=True)
    assert lines == ["             9  README.md", "would be uploaded to me/model"]
    assert server.sent == []


def test_what_cannot_be_pushed_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="--push is 'model'; give NAME/REPOSITORY"):
        hub.push(tmp_path, "model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"me/model was not uploaded \(.*offline.*; log in with"):
        hub.push(tmp_path, "me/model")
