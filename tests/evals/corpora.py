"""Where the published corpora are: beside the checkout, or where CELLBLOCK_DATA says."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("CELLBLOCK_DATA", ROOT.parent / "shared" / "data"))
HUMANEVAL = DATA / "humaneval" / "HumanEval.jsonl.gz"
HUMANEVAL_PLUS = DATA / "humaneval_plus_mini" / "HumanEvalPlus-Mini.jsonl.gz"
PACK = DATA / "humanevalpack_python" / "humanevalpack.jsonl"
MBPP = DATA / "mbpp_sanitized" / "sanitized-mbpp.json"
CRUXEVAL = DATA / "cruxeval" / "cruxeval.jsonl"
CLASSEVAL = DATA / "classeval" / "ClassEval.jsonl"
BIGCODEBENCH = DATA / "bigcodebench_stdlib" / "BigCodeBench.stdlib.jsonl"
CONTESTS = DATA / "code_contests_stdio" / "code_contests.jsonl"
DABENCH = DATA / "dabench" / "da-dev-questions.jsonl"
COMPLETIONS = DATA / "completions_codegen16b"


def rows(path: Path) -> list[dict[str, Any]]:
    """The records of a corpus file."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    if text.lstrip().startswith("["):
        listed: list[dict[str, Any]] = json.loads(text)
        return listed
    return [json.loads(line) for line in text.splitlines() if line.strip()]
