"""`import cellblock`: the engine by the project's own name, in a checkout and out of a wheel."""

import subprocess
import sys
import zipfile
from pathlib import Path

import cellblock
import pytest

import sandbox

ROOT = Path(__file__).resolve().parents[2]
A_USERS_FILE = "raise SystemExit('the user file sandbox.py was loaded')\n"
OUT_OF_A_WHEEL = """
import sys
sys.path[:] = [one for one in sys.path if one != sys.argv[1]]
sys.path.insert(0, sys.argv[2])
import cellblock
print(cellblock.__file__, cellblock.Sandbox.__module__, sys.modules["sandbox"].__file__, sep="\\n")
"""


def _python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )


def test_it_has_the_same_names_and_objects():
    assert cellblock.__all__ == sandbox.__all__
    assert all(getattr(cellblock, name) is getattr(sandbox, name) for name in sandbox.__all__)
    assert dir(cellblock) == dir(sandbox)
    with pytest.raises(AttributeError, match="nothing_of_it"):
        _ = cellblock.nothing_of_it


def test_a_file_named_sandbox_does_not_come_before_the_engine(tmp_path):
    (tmp_path / "sandbox.py").write_text(A_USERS_FILE)
    (tmp_path / "main.py").write_text("from cellblock import Limits\nprint(Limits.__module__)\n")
    done = _python(tmp_path, "main.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, "sandbox.policy.limits\n", "")


def test_another_module_that_has_the_engines_name_already_is_told_of(tmp_path):
    (tmp_path / "sandbox.py").write_text("mine = True\n")
    (tmp_path / "main.py").write_text("import sandbox\nimport cellblock\n")
    done = _python(tmp_path, "main.py")
    assert done.returncode == 1
    assert f"{tmp_path}/sandbox.py was imported under that name" in done.stderr
    assert "Import cellblock first, or rename that file." in done.stderr


@pytest.mark.slow
def test_a_wheel_has_it_beside_the_engine(tmp_path):
    built = _python(ROOT, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        packed.extractall(tmp_path / "installed")
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "cellblock", "runner", "sandbox",
    }  # fmt: skip
    assert not [name for name in names if name.startswith("sandbox/alias")]
    installed = tmp_path / "installed"
    done = _python(tmp_path, "-c", OUT_OF_A_WHEEL, str(ROOT), str(installed))
    assert done.stderr == ""
    assert done.stdout.split("\n")[:3] == [
        f"{installed}/cellblock/__init__.py",
        "sandbox.blocking",
        f"{installed}/sandbox/__init__.py",
    ]
