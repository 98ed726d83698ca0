"""The check that nothing is left can fail: each kind of thing left behind is found."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox import Sandbox
from sandbox.processes.cgroup import PREFIX
from tests.jail.traces import bring_to_rest, traces

Parents = tuple[str, ...]


@contextmanager
def a_descriptor(_directory: Path, _parents: Parents) -> Iterator[None]:
    read, write = os.pipe()
    yield
    os.close(read)
    os.close(write)


@contextmanager
def a_child(_directory: Path, _parents: Parents) -> Iterator[None]:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield
    child.communicate()


@contextmanager
def a_group(_directory: Path, parents: Parents) -> Iterator[None]:
    path = f"{parents[0]}/{PREFIX}{os.getpid()}-left"
    os.mkdir(path)
    yield
    os.rmdir(path)


@contextmanager
def a_file(directory: Path, _parents: Parents) -> Iterator[None]:
    (directory / "left").mkdir()
    yield
    (directory / "left").rmdir()


@pytest.mark.parametrize(
    ("leave", "kind"),
    [(a_descriptor, "descriptors"), (a_child, "children"), (a_group, "groups"), (a_file, "files")],
)
def test_what_a_test_leaves_is_found(leave, kind, own_temporary_directory, group_parents):
    if leave is a_group and not group_parents:
        pytest.skip("cgroup: no cgroups can be made here. `cellblock doctor` says why")
    before = traces(own_temporary_directory, group_parents)
    with leave(own_temporary_directory, group_parents):
        left = traces(own_temporary_directory, group_parents).beyond(before)
        assert kind in left
    assert traces(own_temporary_directory, group_parents).beyond(before) == {}


def test_a_session_left_open_is_found(box: Sandbox, own_temporary_directory, group_parents):
    bring_to_rest()
    before = traces(own_temporary_directory, group_parents)
    with box.session():
        bring_to_rest()
        left = traces(own_temporary_directory, group_parents).beyond(before)
        assert left["sessions"] == {"open": 1}
        assert "descriptors" in left
    bring_to_rest()
    assert traces(own_temporary_directory, group_parents).beyond(before) == {}


def test_a_sandbox_at_rest_counts_the_same_before_and_after_its_use(
    box: Sandbox, own_temporary_directory, group_parents
):
    bring_to_rest()
    before = traces(own_temporary_directory, group_parents)
    assert box.run("1 + 1").text == "2"
    bring_to_rest()
    assert traces(own_temporary_directory, group_parents) == before
