"""What is read of pip's report, in the forms that its versions write."""

import hashlib
from pathlib import Path

import pytest

from sandbox import PackagesNotInstalled
from sandbox.packages.installer import _sha256_of

FOUND = "ab" * 32


@pytest.mark.parametrize(
    "archive",
    [
        {"hashes": {"sha256": FOUND}, "hash": "sha256=" + "cd" * 32},
        {"hash": f"sha256={FOUND}"},
    ],
)
def test_a_hash_is_found_where_a_version_of_pip_writes_it(archive: dict[str, object]) -> None:
    download = {"url": "https://files.example.org/a.whl", "archive_info": archive}
    assert _sha256_of(download) == FOUND


@pytest.mark.parametrize("archive", [{}, {"hash": "md5=00"}])
def test_a_wheel_of_a_folder_is_hashed_where_pip_names_no_hash(
    tmp_path: Path, archive: dict[str, object]
) -> None:
    (tmp_path / "a b.whl").write_bytes(b"wheel")
    download = {"url": f"file://{tmp_path}/a%20b.whl", "archive_info": archive}
    assert _sha256_of(download) == hashlib.sha256(b"wheel").hexdigest()


def test_a_download_without_a_hash_is_not_taken() -> None:
    with pytest.raises(PackagesNotInstalled, match="no hash of https") as caught:
        _sha256_of({"url": "https://files.example.org/a.whl", "dir_info": {}})
    assert "uv" in str(caught.value)
