"""Modules found by a name in a package, or by the path of a file or a folder."""

import subprocess
import sys

import pytest

from mmcot_jax import evals, models, modules, rewards, tasks
from mmcot_jax.evals import grounded
from mmcot_jax.tasks import nlvr

TASKS = "mmcot_jax.tasks"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_public_files_and_folders_of_a_package_are_its_modules():
    names = modules.names(TASKS)
    assert {"nlvr", "shapes"} <= set(names) and names == sorted(names)
    assert not [name for name in names if name.startswith("_")]


def test_names_can_be_limited_to_modules_that_define_something():
    assert modules.names(TASKS, required=("split_of",)) == ["nlvr", "table"]


def test_a_name_is_a_module_of_the_package():
    assert modules.find("nlvr", TASKS, "data.task") is nlvr


def test_an_unknown_name_is_refused_with_the_known_ones_and_the_nearest():
    message = r"data.task is 'nlrv'; there are: aokvqa, .*, did you mean 'nlvr'\?; or give the path"
    with pytest.raises(ValueError, match=message):
        modules.find("nlrv", TASKS, "data.task")
    with pytest.raises(ValueError, match=r"data\.task is '_records'; there are"):
        modules.find("_records", TASKS, "data.task")


def test_a_users_file_is_imported_once(tmp_path):
    file = write(tmp_path / "mine.py", "made = []\n")
    module = modules.find(file, TASKS, "data.task")
    assert modules.find(f"{tmp_path}/../{tmp_path.name}/mine.py", TASKS, "data.task") is module
    assert sys.modules[module.__name__] is module


def test_two_files_of_one_name_are_two_modules(tmp_path):
    one, other = (write(tmp_path / x / "mine.py", f"x = {x!r}\n") for x in "ab")
    found = [modules.find(file, TASKS, "data.task").x for file in (one, other)]
    assert found == ["a", "b"]


def test_a_users_folder_imports_its_own_files(tmp_path):
    write(tmp_path / "mine/__init__.py", "from .part import x\nfrom . import part\n")
    write(tmp_path / "mine/part.py", "x = 5\n")
    module = modules.find(f"{tmp_path}/mine", TASKS, "data.task")
    assert module.x == 5 and module.part.x == 5


@pytest.mark.parametrize("name", ["gone.py", "gone/folder"])
def test_a_missing_file_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"data.task is '.*{name}'; there is no Python file"):
        modules.find(f"{tmp_path}/{name}", TASKS, "data.task")


def test_a_folder_without_an_init_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no Python file .*__init__\.py"):
        modules.find(str(tmp_path), TASKS, "data.task")


def test_a_file_that_raises_is_imported_again_when_it_is_mended(tmp_path):
    file = write(tmp_path / "mine.py", "raise RuntimeError('broken')\n")
    with pytest.raises(ValueError, match=r"mine\.py:1: RuntimeError: broken$"):
        modules.find(file, TASKS, "data.task")
    write(tmp_path / "mine.py", "x = 'mended, and longer'\n")
    assert modules.find(file, TASKS, "data.task").x.startswith("mended")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "x = 1\nimport gone_for_good\n",
            "mine.py:2: ModuleNotFoundError: No module named 'gone",
        ),
        ("def f(:\n", "mine.py:1: SyntaxError: invalid syntax"),
        ("\n\n1 / 0", "mine.py:3: ZeroDivisionError: division by zero"),
        ("raise OSError('two\\nlines')", "mine.py:1: OSError: two lines"),
        ("import sys\nsys.exit(4)", "mine.py:2: SystemExit: 4"),
        ("import json\n\njson.loads('{')", "mine.py:3: JSONDecodeError: Expecting property name"),
        ("assert 0", "mine.py:1: AssertionError: "),
    ],
)
def test_a_users_file_that_raises_is_one_line_with_its_place(tmp_path, text, said):
    file = write(tmp_path / "mine.py", text)
    with pytest.raises(ValueError) as refusal:
        modules.find(file, TASKS, "data.task")
    line = str(refusal.value)
    assert line.startswith(f"data.task is {file!r}: {tmp_path}/{said}") and "\n" not in line
    # a reward, a way of judging and a backbone are loaded in the same way
    assert said in message(lambda: rewards.resolve(f"{file}:f"))
    assert said in message(lambda: evals.get("mine.py", tmp_path / "task.py"))
    assert said in message(lambda: models.get(file))


def message(call) -> str:
    with pytest.raises(ValueError) as refusal:
        call()
    return str(refusal.value)


def test_a_module_without_a_required_name_is_refused(tmp_path):
    file = write(tmp_path / "mine.py", "def load(): ...\n")
    with pytest.raises(ValueError, match=r"data\.task is '.*mine\.py', which .* define stream$"):
        modules.find(file, TASKS, "data.task", ("load", "stream"))
    with pytest.raises(ValueError, match=r"which does not define .*stream"):
        tasks.get(file)


# ---- ways of judging -----------------------------------------------------------------------------


def test_a_way_of_judging_is_found_by_name():
    assert evals.get("grounded") is grounded


def test_an_unknown_way_of_judging_is_refused_with_those_that_judge():
    message = r"EVALUATOR is 'grunded'; there are: exact_match, grounded, .*, did you mean 'groun"
    with pytest.raises(ValueError, match=message):
        evals.get("grunded")
    with pytest.raises(ValueError, match="EVALUATOR is 'metrics', which does not define summarize"):
        evals.get("metrics")


def test_a_users_way_of_judging_lies_beside_the_task_that_names_it(tmp_path):
    file = write(tmp_path / "tasks/judge.py", "def summarize(a): ...\ndef correct(a): ...\n")
    task = tmp_path / "tasks/mine.py"
    module = evals.get("./judge.py", task)
    assert module is evals.get("judge.py", task) is evals.get(file)
    assert evals.get(file, task) is module and evals.get("grounded", task) is grounded
    with pytest.raises(ValueError, match=r"EVALUATOR of .*mine\.py is '.*gone\.py'; there is no"):
        evals.get("gone.py", task)
    half = write(tmp_path / "tasks/half.py", "def summarize(a): ...\n")
    with pytest.raises(ValueError, match="which does not define correct"):
        evals.get(half, task)


def test_looking_up_ways_of_judging_imports_no_jax():
    code = "import sys, mmcot_jax.evals, mmcot_jax.score; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_start_imports_no_slow_library_that_most_runs_do_not_use():
    code = (
        "import sys; from mmcot_jax import models, stages\n"
        "for name in ('chameleon', 'qwen25vl', 'seed_llama'): models.get(name)\n"
        "print(sorted({'qwix', 'tensorflow_datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == "[]"
