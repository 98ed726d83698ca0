"""A server that is killed in the middle of uploads keeps all that it confirmed, and no more."""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import httpx2
import openai
import pytest
from openai import OpenAI
from serving import KEY

WRITERS, ENOUGH = 4, 40


@contextmanager
def served(folder):
    """A server process over the data directory below `folder`, and a client of it."""
    environ = {**os.environ, "XDG_DATA_HOME": str(folder), "CELLBLOCK_API_KEY": KEY}
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", "serve", "--port", "0", "--without-model"],
        env=environ, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if line.startswith("Listening on "))
        base = f"{line.removeprefix('Listening on ').strip()}/v1"
        yield process, OpenAI(base_url=base, api_key=KEY, max_retries=0)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def content(number):
    return f"{number}-".encode() * 20_000


@pytest.fixture
def confirmed(tmp_path):
    """Files by id that a server had confirmed when it was killed, four uploads under way."""
    found = {}
    with served(tmp_path) as (process, asking):
        made = asking.containers.create(name="x")
        enough = threading.Event()

        def write(first):
            number = first
            with suppress(openai.APIConnectionError, httpx2.HTTPError):
                while True:
                    data = content(number)
                    file = asking.files.create(file=(str(number), data), purpose="user_data")
                    found[file.id] = number
                    asking.containers.files.create(made.id, file=(f"{number % 5}", data))
                    if len(found) >= ENOUGH:
                        enough.set()
                    number += WRITERS

        threads = [threading.Thread(target=write, args=(n,)) for n in range(WRITERS)]
        for thread in threads:
            thread.start()
        assert enough.wait(60)
        process.kill()
        for thread in threads:
            thread.join()
    return found, made.id


def test_what_was_confirmed_is_whole_after_a_kill_and_nothing_is_half_there(tmp_path, confirmed):
    files, container_id = confirmed
    with served(tmp_path) as (_process, asking):
        listed = {file.id: file for file in asking.files.list()}
        assert set(files) <= set(listed)
        for file in listed.values():
            assert asking.files.content(file.id).read() == content(int(file.filename))
        inside = list(asking.containers.files.list(container_id))
        assert inside
        for file in inside:
            data = asking.containers.files.content.retrieve(file.id, container_id=container_id)
            assert len(data.read()) == file.bytes
    root = tmp_path / "cellblock" / "contents"
    kept = [path for path in root.rglob("*") if path.is_file()]
    assert len(kept) == len(listed) + len(inside)
