"""What an environment holds, and whether it is compiled."""

from pathlib import Path

import pytest

from runner import doctor
from sandbox import environment_report
from sandbox.policy.environment import Environment
from sandbox.policy.policy import Policy
from sandbox.session.description import SessionDescription, describe


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """Five packages, none compiled."""
    packages = tmp_path / "lib/site-packages"
    for name in "abcde":
        (packages / name).mkdir(parents=True)
        (packages / name / "__init__.py").touch()
    (packages / "a-1.5.dist-info").mkdir()
    (packages / "a-1.5.dist-info/METADATA").write_text("Name: a\nVersion: 1.5\n")
    return Environment(
        interpreter="/opt/python/bin/python",
        version=(3, 12, 1),
        prefix=str(tmp_path),
        base_prefix=str(tmp_path),
        sys_path=(str(packages),),
        links=("/opt/python/bin/python",),
    )


def compile_all_but(environment: Environment, *names: str) -> None:
    for package in Path(environment.sys_path[0]).iterdir():
        if package.name not in names and "." not in package.name:
            (package / "__pycache__").mkdir()
            (package / "__pycache__/__init__.cpython-312.pyc").touch()


def test_packages_without_byte_code_are_told_with_the_command(environment: Environment) -> None:
    report = environment_report(environment)
    assert (report.packages, report.version, report.uncompiled) == ({"a": "1.5"}, "3.12.1", 5)
    [directory] = environment.sys_path
    assert report.remedy == f"/opt/python/bin/python -m compileall -q {directory}"


def test_an_environment_that_is_compiled_needs_no_remedy(environment: Environment) -> None:
    compile_all_but(environment)
    report = environment_report(environment)
    assert (report.uncompiled, report.remedy) == (0, "")


def test_a_session_is_described_in_few_words() -> None:
    found: SessionDescription = describe(Policy(preload=["json"]), ("seccomp",), survives=True)
    assert found.preloaded == ("json",)
    assert "numpy" in found.packages
    assert "Network: none. A snippet may take 30 s and 1024 MiB" in found.for_model()
    kept = describe(Policy(files="rollback"), (), survives=False).survives
    assert kept == "files survive a snippet that is killed, variables do not"


def test_doctor_lists_what_sessions_have(environment: Environment) -> None:
    told = list(doctor._environment(environment_report(environment)))
    assert told[1] == "packages          1: a 1.5"
    assert "5 packages have none" in told[-2]
