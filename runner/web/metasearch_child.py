"""Asks public search engines, in a process of its own: standard input in, standard output out.

It is started as a file, isolated, and can be killed at any time; it imports nothing of ours.
"""

import json
import sys

from ddgs import DDGS


def main() -> None:
    asked = json.load(sys.stdin)
    with DDGS(timeout=asked["timeout_s"]) as engines:
        found = engines.text(asked["query"], max_results=asked["count"])
    json.dump([[one.get("href"), one.get("title"), one.get("body")] for one in found], sys.stdout)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001 - any failure becomes one line for the parent
        sys.exit(f"{type(error).__name__}: {error}"[:500])
