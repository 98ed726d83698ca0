"""Landlock's masks for each version of it, written down apart from the tables."""

import os
import struct
from pathlib import Path

import pytest

from sandbox.guest.jail import landlock
from sandbox.guest.jail.landlock import Handled
from sandbox.protocol.plan import Access, Tier

VERSIONS = range(1, 12)
ALL_RIGHTS = {
    1: 0x1FFF,
    2: 0x3FFF,
    3: 0x7FFF,
    4: 0x7FFF,
    5: 0xFFFF,
    6: 0xFFFF,
    7: 0xFFFF,
    8: 0xFFFF,
    9: 0x1FFFF,
    10: 0x1FFFF,
    11: 0x1FFFF,
}
FLAGS = {**dict.fromkeys(range(1, 7), 0), 7: 1, 8: 9, 9: 9, 10: 9, 11: 9}
CHANGES_SOMETHING = 0x1FFFF & ~0b1101
"""Every right but to execute, to read a file and to read a directory."""
DEVICE_NODES = 1 << 6 | 1 << 11 | 1 << 15
ON_FILES = 0b111 | 1 << 14 | 1 << 15 | 1 << 16


def rights_of(row: bytes) -> tuple[int, int]:
    assert len(row) == 12
    rights, fd = struct.unpack("=Qi", row)
    return rights, fd


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_is_asked_for_every_right_that_it_knows(version: int) -> None:
    scopes = 3 if version >= 6 else 0
    ports = 3 if version >= 4 else 0
    assert landlock.handled(version, "namespaces") == Handled(ALL_RIGHTS[version], 0, scopes)
    assert landlock.handled(version, "landlock") == Handled(ALL_RIGHTS[version], ports, scopes)


@pytest.mark.parametrize(
    ("version", "tier", "size"),
    [
        (1, "landlock", 8),
        (3, "landlock", 8),
        (4, "namespaces", 8),
        (4, "landlock", 16),
        (5, "landlock", 16),
        (6, "namespaces", 24),
        (9, "landlock", 24),
    ],
)
def test_the_attribute_has_no_field_that_the_version_lacks(
    version: int, tier: Tier, size: int
) -> None:
    asked = landlock.handled(version, tier)
    encoded = asked.encode()
    assert len(encoded) == size
    assert struct.unpack("=3Q", encoded.ljust(24, b"\0")) == tuple(asked)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("access", ["ro", "rw"])
def test_a_rule_carries_only_rights_that_its_file_and_the_version_have(
    version: int, access: Access, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    fds = [os.open(path, os.O_PATH) for path in (tmp_path, tmp_path / "file")]
    try:
        ruleset = landlock.prepare([(fd, access) for fd in fds], tier="landlock", version=version)
    finally:
        for fd in fds:
            os.close(fd)
    (on_directory, first), (on_file, second) = map(rights_of, ruleset.rows)
    assert [first, second] == fds
    assert on_directory & ~ALL_RIGHTS[version] == 0
    assert on_file == on_directory & ON_FILES
    if access == "ro":
        assert (on_directory, on_file) == (0b1101, 0b0101)
    else:
        assert on_directory == ALL_RIGHTS[version] & ~DEVICE_NODES


def test_reading_grants_nothing_that_changes_and_writing_makes_no_device() -> None:
    assert landlock.GRANTS["ro"] & CHANGES_SOMETHING == 0
    assert landlock.GRANTS["rw"] & DEVICE_NODES == 0
    assert landlock.GRANTS["ro"] & ~landlock.GRANTS["rw"] == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_refusals_are_not_audited_and_threads_are_included_where_that_exists(version: int) -> None:
    assert landlock.prepare([], tier="landlock", version=version).flags == FLAGS[version]


def test_a_kernel_without_landlock_is_an_error() -> None:
    with pytest.raises(OSError, match="landlock: this kernel has none"):
        landlock.prepare([], tier="namespaces", version=0)
    with pytest.raises(OSError, match="landlock: this kernel has none"):
        landlock.restrict([], tier="namespaces", version=0)
