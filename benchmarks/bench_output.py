"""Output: how fast it comes out of a session, and how soon."""

import os
import subprocess
import sys
import time
from typing import Self

from benchmarks.boxes import completed, sandbox
from benchmarks.harness import Bench, benchmark, quantile
from sandbox import Limits, Stdout

MiB = 1024**2
LINES = 200_000
LINE = "a line of output, neither long nor short"
PRINT_LINES = f"for _ in range({LINES}): print({LINE!r})"
BLOCKS = 64
WRITE_BLOCKS = f"import sys\nfor _ in range({BLOCKS}): sys.stdout.write('0' * {MiB // 2})"
READ_BYTES = 1 << 18
STAMPS = 60
PRINT_STAMPS = (  # first a pause in a system call, then one in C code that holds the lock
    "import time\n"
    f"for number in range({STAMPS}):\n"
    "    print(time.monotonic())\n"
    "    if number % 2: time.sleep(0.03)\n"
    "    else: sum(range(3_000_000))\n"
)


@benchmark
async def stdout_lines(bench: Bench) -> float:
    """200 000 printed lines of 41 bytes, against a bare pipe from the same Python.

    The rival is this interpreter, started before, that runs the same code with its standard
    output a pipe, read to the last byte. The outcome keeps the first and last half MiB.
    """
    return await _output(bench, PRINT_LINES, LINES * (len(LINE) + 1))


@benchmark
async def stdout_blocks(bench: Bench) -> float:
    """32 MiB in writes of 512 KiB, against the same rival."""
    return await _output(bench, WRITE_BLOCKS, BLOCKS * MiB // 2)


@benchmark
async def stdout_promptness(bench: Bench) -> float:
    """From `print` to the event on the host while the snippet sleeps or computes in C, p99 in ms.

    Leaves out floods: after some hundred lines within a few milliseconds.
    """
    async with sandbox() as box, box.session() as session:
        async for event in session.stream(PRINT_STAMPS):
            seen = time.monotonic()
            if isinstance(event, Stdout):
                for line in event.text.splitlines():
                    bench.add("delay", seen - float(line))
    if len(bench.series["delay"]) != STAMPS:
        raise RuntimeError("lines are missing")
    return quantile(bench.series["delay"], 0.99) * 1e3


async def _output(bench: Bench, code: str, size: int) -> float:
    limits = Limits(output_bytes=4 * size)
    async with sandbox(survive=False, limits=limits) as box, box.session() as session:
        with Pipe() as rival:

            async def ours() -> None:
                outcome = completed(await session.run(code))
                cut = outcome.truncated.stdout
                if cut.kept_bytes + cut.dropped_bytes != size:
                    raise RuntimeError(f"{cut} instead of {size} bytes")

            async def theirs() -> None:
                rival.run(code, size)

            await bench.turns({"session": ours, "pipe": theirs}, rounds=12)
    return bench.ratio("session", "pipe")


class Pipe:
    """This interpreter with its standard output a pipe, running what it is told."""

    LOOP = (
        "import sys\n"
        "while size := sys.stdin.readline():\n"
        "    exec(sys.stdin.read(int(size)), {})\n"
        "    sys.stdout.flush()\n"
    )

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", self.LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.communicate()

    def run(self, code: str, size: int) -> None:
        """Have `code` run and read the `size` bytes that it prints."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{len(code)}\n{code}".encode())
        stdin.flush()
        left = size
        while left:
            data = os.read(stdout.fileno(), READ_BYTES)
            if not data:
                raise RuntimeError("the rival is gone")
            left -= len(data)
