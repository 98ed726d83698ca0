"""A second file of one name has a name of its own."""

import pytest

from runner.server.store.free_path import NAME_BYTES, free_path


@pytest.mark.parametrize(
    ("path", "taken", "free"),
    [
        ("data.csv", set(), "data.csv"),
        ("data.csv", {"data.csv"}, "data (1).csv"),
        ("data.csv", {"data.csv", "data (1).csv"}, "data (2).csv"),
        ("a/b/data.csv", {"a/b/data.csv"}, "a/b/data (1).csv"),
        ("Makefile", {"Makefile"}, "Makefile (1)"),
        (".env", {".env"}, ".env (1)"),
    ],
)
def test_the_first_free_number_is_taken(path, taken, free):
    assert free_path(path, taken) == free


def test_a_long_name_stays_one_that_a_file_can_have():
    path = "ä" * 125 + ".data"
    free = free_path(path, {path})
    assert free.endswith(" (1).data")
    assert len(free.encode()) <= NAME_BYTES
