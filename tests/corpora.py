"""Task sets and recorded sessions: our own, which are always here, and the published ones.

Our own are in `tests/tasks`, a few tasks in the format of each suite. The published sets are other
people's work and no part of this project: tests over them have the mark `corpora` and run where
CELLBLOCK_DATA names a folder that has them. tests/README.md says which they are.
"""

import gzip
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "CELLBLOCK_DATA"
HOW_TO_GET = (
    f"runs over published task sets: {VARIABLE}=FOLDER names the folder that has them,"
    " tests/README.md says where they come from"
)


@dataclass(frozen=True, eq=False)
class Corpora:
    """A folder of sets, and the file of each one in it."""

    name: str
    files: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """Where the sets are. Fails the test if that is not told, or not there."""
        if self.name == "own":
            return Path(__file__).parent / "tasks"
        folder = Path(os.environ.get(VARIABLE, ""))
        if not folder.is_absolute() or not folder.is_dir():
            pytest.fail(f"{VARIABLE} must be the absolute path of a folder, and is {folder}")
        return folder

    def __getitem__(self, name: str) -> Path:
        path = self.folder / self.files[name]
        if not path.is_file():
            pytest.fail(f"{path} is missing; tests/README.md says where it comes from")
        return path

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The records of the set `name`."""
        return rows(self[name])


OWN = Corpora(
    "own",
    {
        "humaneval": "humaneval.jsonl",
        "samples": "samples.jsonl",
        "expected": "expected.jsonl",
        "humaneval-plus": "humaneval_plus.jsonl",
        "pack": "humanevalpack.jsonl",
        "mbpp": "mbpp.json",
        "mbpp-plus": "mbpp_plus.jsonl",
        "cruxeval": "cruxeval.jsonl",
        "classeval": "classeval.jsonl",
        "bigcodebench": "bigcodebench.jsonl",
        "stdio": "contests.jsonl",
        "dabench": "da-dev-questions.jsonl",
        "ds1000": "ds1000.jsonl",
        "traces": "traces.jsonl",
    },
)
"""Tasks `Own/0` to `Own/11` of HumanEval's kind have five samples each; `expected` is what
running prompt, completion and test in a plain interpreter came to, with two seconds for each."""
PUBLISHED = Corpora(
    "published",
    {
        "humaneval": "humaneval/HumanEval.jsonl.gz",
        "samples": "completions_codegen16b/samples.jsonl",
        "expected": "completions_codegen16b/expected.jsonl",
        "humaneval-plus": "humaneval_plus_mini/HumanEvalPlus-Mini.jsonl.gz",
        "pack": "humanevalpack_python/humanevalpack.jsonl",
        "mbpp": "mbpp_sanitized/sanitized-mbpp.json",
        "cruxeval": "cruxeval/cruxeval.jsonl",
        "classeval": "classeval/ClassEval.jsonl",
        "bigcodebench": "bigcodebench_stdlib/BigCodeBench.stdlib.jsonl",
        "stdio": "code_contests_stdio/code_contests.jsonl",
        "dabench": "dabench/da-dev-questions.jsonl",
        "traces_mathcoder": "traces_mathcoder/traces.jsonl",
        "traces_tora": "traces_tora/traces.jsonl",
        "traces_mint": "traces_mint/traces.jsonl",
    },
)
SAMPLES_HAVE_S = 5.0
"""CPU seconds that `expected` was made with, or more where it does not matter."""
BOTH = (
    pytest.param(OWN, id="own"),
    pytest.param(PUBLISHED, id="published", marks=pytest.mark.corpora),
)
"""Parameters of a test that holds for any set of its kind."""


def rows(path: Path) -> list[dict[str, Any]]:
    """The records of a file: JSONL, plain or gzipped, or one JSON list."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    if text.lstrip().startswith("["):
        listed: list[dict[str, Any]] = json.loads(text)
        return listed
    return [json.loads(line) for line in text.splitlines() if line.strip()]
