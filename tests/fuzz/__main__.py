"""Fuzzes targets, each for a given time: `python -m tests.fuzz [TARGET...] --seconds 60`.

Each runs in a process of its own, because the fuzzer ends its process. `.fuzz/TARGET` keeps the
corpus and the inputs that found something; the exit status is 1 if there were any.
"""

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

KEPT = Path(".fuzz")
INSTRUMENTED = [
    "sandbox.protocol",
    "sandbox.guest.kernel",
    "json",
    "runner.dialects",
    "runner.models.upstream",
    "runner.server.http",
    "python_multipart",
]
"""What is told to the fuzzer of; instrumenting more takes longer than a short run."""
LONGEST_BYTES = 8192
CORPUS_FILES = 2000
MEMORY_MB = 1024


def main() -> int:
    """Fuzz what the command line names; all targets if it names none."""
    if sys.argv[1:2] == ["--inside"]:
        _fuzz(sys.argv[2], sys.argv[3])
    targets = importlib.import_module("tests.fuzz.targets").TARGETS
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(targets))
    parser.add_argument("--seconds", type=int, default=60, help="time for each target")
    options = parser.parse_args()
    unknown = set(options.targets) - set(targets)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(targets)}")
    failed = []
    for name in options.targets or targets:
        command = [sys.executable, "-m", "tests.fuzz", "--inside", name, str(options.seconds)]
        done = subprocess.run(command, check=False)
        print(f"{name}: {'failed' if done.returncode else 'nothing found'}", flush=True)
        failed += [name] if done.returncode else []
    return 1 if failed else 0


def _fuzz(name: str, seconds: str) -> None:
    """Fuzz one target until the time is over or something is found; ends the process."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        targets = importlib.import_module("tests.fuzz.targets")
    target = targets.TARGETS[name]
    corpus = KEPT / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for old in sorted(corpus.iterdir())[CORPUS_FILES:]:
        old.unlink()
    for number, seed in enumerate([*target.seeds, *targets.kept(name)]):
        (corpus / f"seed-{number}").write_bytes(seed)
    flags = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST_BYTES}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-artifact_prefix={KEPT / name}/",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    raise SystemExit(main())
