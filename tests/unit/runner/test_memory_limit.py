"""Memory of a container: what is asked for by name, within what the owner allows."""

import pytest

from runner.errors import RequestError
from runner.server.live.memory_limit import check_memory, memory_bytes, memory_limits, memory_name

GiB = 2**30


@pytest.mark.parametrize(
    ("name", "allowed", "bytes_", "shown"),
    [
        ("", GiB, GiB, "1g"),
        ("", GiB // 2, GiB // 2, "1g"),
        ("", 5 * GiB, 5 * GiB, "4g"),
        ("1g", 5 * GiB, GiB, "1g"),
        ("4g", 4 * GiB, 4 * GiB, "4g"),
        ("64g", 64 * GiB, 64 * GiB, "64g"),
    ],
)
def test_a_container_has_what_it_asked_for_or_what_the_owner_gives(name, allowed, bytes_, shown):
    check_memory(name, allowed, param="memory_limit")
    assert memory_bytes(name, allowed) == bytes_
    assert memory_name(name, allowed) == shown
    limits = memory_limits(name, allowed)
    assert (limits is None) == (bytes_ == allowed)
    assert limits is None or limits.memory_bytes == bytes_


@pytest.mark.parametrize(("name", "allowed"), [("2g", 64 * GiB), ("1g", GiB - 1), ("4g", GiB)])
def test_what_is_unknown_or_more_than_allowed_is_refused(name, allowed):
    with pytest.raises(RequestError) as caught:
        check_memory(name, allowed, param="memory_limit")
    assert (caught.value.fault, caught.value.param) == ("invalid", "memory_limit")
