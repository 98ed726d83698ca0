"""Tiny wheels, made where a test needs some: a wheel is a zip with a few files about itself."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

ABOUT = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel(
    directory: Path,
    name: str,
    version: str,
    *,
    needs: tuple[str, ...] = (),
    files: Mapping[str, str] | None = None,
) -> Path:
    """A wheel of `name` that has `VERSION`, and `files` more."""
    path = directory / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    content = {
        f"{name}/__init__.py": f"VERSION = {version!r}\n",
        **(files or {}),
        f"{about}/METADATA": metadata + "".join(f"Requires-Dist: {one}\n" for one in needs),
        f"{about}/WHEEL": ABOUT,
    }
    record = "".join(f"{one},,\n" for one in (*content, f"{about}/RECORD"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one, text in content.items():
            archive.writestr(one, text)
        archive.writestr(f"{about}/RECORD", record)
    return path
