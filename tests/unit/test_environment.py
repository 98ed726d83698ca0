"""Environment: what an interpreter says of itself, and how a wrong one is told."""

import contextlib
import io
import json
import os
import sys

import pytest

from sandbox.errors import EnvironmentFailed
from sandbox.policy.environment import QUESTION, Environment, _understood, discover

ANSWER = {
    "executable": "/opt/py/bin/python3",
    "implementation": "cpython",
    "version": [3, 12, 4],
    "prefix": "/opt/py",
    "base_prefix": "/opt/py",
    "sys_path": ["/usr", "/not/there"],
}


def answered(**changes: object) -> Environment:
    line = json.dumps({**ANSWER, **changes})
    return _understood("/opt/py/bin/python3", 0, f"words of a .pth file\n{line}\n".encode(), b"")


def failure(interpreter: str) -> EnvironmentFailed:
    with pytest.raises(EnvironmentFailed) as caught:
        discover(interpreter)
    return caught.value


def test_this_process_is_an_environment():
    environment = discover()
    assert environment.interpreter == os.path.abspath(sys.executable)
    assert environment.version == sys.version_info[:3]
    assert environment.prefix == sys.prefix
    assert environment.base_prefix == sys.base_prefix
    assert environment.links[0] == environment.interpreter
    assert environment.links[-1] == os.path.realpath(sys.executable)


def test_what_a_program_adds_to_its_path_is_not_shown_to_a_guest(tmp_path, monkeypatch):
    before = discover().sys_path
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "added"), "", *sys.path])
    assert discover().sys_path == before
    assert str(tmp_path) not in before


def test_directories_that_a_pth_file_adds_are_part_of_it(tmp_path, monkeypatch):
    packages, project = tmp_path / "site-packages", tmp_path / "project"
    packages.mkdir()
    project.mkdir()
    (packages / "a.pth").write_text(f"# note\nimport os\n{project}\n")
    monkeypatch.setattr("site.getsitepackages", lambda: [str(packages), "/not/there"])
    monkeypatch.setattr(sys, "path", [str(tmp_path / "other"), str(packages), str(project)])
    assert discover().sys_path == (str(packages), str(project))


def test_the_question_asked_of_this_interpreter_gets_the_same_answer():
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(QUESTION, {})
    asked = _understood(sys.executable, 0, said.getvalue().encode(), b"")
    here = discover()
    assert asked.model_copy(update={"sys_path": ()}) == here.model_copy(update={"sys_path": ()})
    assert set(here.sys_path) <= set(asked.sys_path)


def test_only_paths_that_exist_count_and_words_before_the_answer_do_not():
    environment = answered()
    assert environment.version == (3, 12, 4)
    assert environment.sys_path == ("/usr",)


def test_links_of_an_interpreter_are_followed_one_by_one(tmp_path):
    real = tmp_path / "versions" / "3.12.4" / "bin" / "python3.12"
    real.parent.mkdir(parents=True)
    real.write_text("")
    (tmp_path / "versions" / "3.12").symlink_to("3.12.4")
    link = tmp_path / "venv" / "bin" / "python"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "versions" / "3.12" / "bin" / "python3.12")
    assert answered(executable=str(link)).links == (
        str(link),
        f"{tmp_path}/versions/3.12/bin/python3.12",
        str(real),
    )


def test_an_old_python_is_refused_with_its_version():
    with pytest.raises(EnvironmentFailed) as caught:
        answered(version=[3, 9, 2])
    assert caught.value.detail == "it is Python 3.9.2, the oldest that works is 3.11"
    assert caught.value.remedy == "Use Python 3.11 or later"


def test_another_implementation_is_refused_by_name():
    with pytest.raises(EnvironmentFailed, match="it is pypy, not CPython"):
        answered(implementation="pypy")


@pytest.mark.parametrize(
    "stdout", [b"", b"hello", b"{}", b"null", b'{"version": [3]}', b"\xff\xfe", b"[1, 2]"]
)
def test_a_program_that_is_no_python_is_told_with_its_words(stdout):
    with pytest.raises(EnvironmentFailed) as caught:
        _understood("/bin/cat", 1, stdout, b"invalid option -- 'I'\n")
    error = caught.value
    assert (error.interpreter, error.module) == ("/bin/cat", "")
    assert error.detail == (
        "it does not answer as Python 3 does (exit status 1); it said: invalid option -- 'I'"
    )


def test_a_missing_interpreter_is_told_with_its_path():
    error = failure("/not/there/python")
    assert str(error) == (
        "Interpreter '/not/there/python' cannot be used: no such file."
        " Give the path of an interpreter, such as /usr/bin/python3."
    )


def test_a_directory_is_no_interpreter(tmp_path):
    assert failure(str(tmp_path)).detail == "it is a directory"


def test_a_file_without_the_right_to_run_is_no_interpreter(tmp_path):
    path = tmp_path / "python"
    path.write_text("")
    path.chmod(0o644)
    assert failure(str(path)).detail == "it cannot be executed"


def test_a_name_is_looked_up_in_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert failure("python-of-nobody").detail == "no such environment, and no such program in PATH"


def test_a_program_with_python_built_in_has_to_name_an_interpreter(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(EnvironmentFailed) as caught:
        discover()
    assert caught.value.remedy == "Give Policy(environment=...) the path of an interpreter"
