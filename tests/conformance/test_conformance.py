"""Every face passes every check on the list, but for those that it says it lacks."""

from collections.abc import Iterator

import pytest

from tests.conformance import edge_checks, table, tool_checks
from tests.conformance.checks import CHECKS
from tests.conformance.lacking import Lacking
from tests.conformance.subjects import FACES, Opener

LOADED = (edge_checks, tool_checks)
"""Their checks are on the list by being loaded."""


CANNOT = (Lacking, AssertionError, TypeError, pytest.fail.Exception)
"""How a check ends that a face has no calls for, or whose arguments its calls do not take."""
PARAMS = [
    pytest.param(face.name, marks=[pytest.mark.slow] if face.is_slow else [])
    for face in FACES.values()
]


@pytest.fixture(scope="module", params=PARAMS)
def face(request: pytest.FixtureRequest) -> Iterator[tuple[str, Opener]]:
    with FACES[request.param].started() as opener:
        yield request.param, opener


@pytest.mark.parametrize("name", list(CHECKS))
def test_a_session_of_any_face(face: tuple[str, Opener], name: str) -> None:
    which, opener = face
    if name not in FACES[which].lacks:
        with opener() as session:
            CHECKS[name](session)
        return
    # A face that can do it after all has to say so.
    with opener() as session, pytest.raises(CANNOT):
        CHECKS[name](session)


def test_what_a_face_lacks_is_on_the_list_and_has_its_reason() -> None:
    lacking = {
        (face.name, name): why for face in FACES.values() for name, why in face.lacks.items()
    }
    assert [pair for pair in lacking if pair[1] not in CHECKS] == []
    assert all(lacking.values())


def test_the_table_in_the_documents_is_that_of_the_faces() -> None:
    assert table.DOCUMENT.read_text() == table.document(), table.COMMAND
