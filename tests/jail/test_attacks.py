"""Every escape of the corpus is tried in both jailed tiers, and where it does no harm, bare.

All language-level checks are off: the import preset "open" and the full language are the
defaults, so what holds here is the kernel and the host.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from types import FrameType

import pytest

from sandbox import Limits, Policy, Sandbox, Session
from sandbox.errors import FileRefused, SessionError
from sandbox.outcome import Died, LimitExceeded, Outcome, Raised, outcome_to_json
from sandbox.protocol.plan import LAYERS
from tests.jail import corpus
from tests.jail.bait import Bait
from tests.jail.corpus import Attack, Expected, Tier

MiB = 1024 * 1024
LIMITS = Limits(
    wall_s=8,
    cpu_s=8,
    grace_s=0.2,
    memory_bytes=192 * MiB,
    processes=48,
    output_bytes=4 * MiB,
    kept_bytes=256 * 1024,
    workspace_bytes=32 * MiB,
    workspace_files=2000,
)
HANG_S = 40.0
"""Longest that one attack may hold up the engine, whatever it does."""
GONE_WITHIN_S = 2.0
SIBLING_PORT = 47_113
SIBLING = """
import os, socket, tempfile, threading

secret = SECRET
home, temporary = os.path.expanduser("~"), tempfile.gettempdir()
for folder in (".", home, temporary):
    with open(f"{folder}/secret.txt", "w") as stream:
        stream.write(secret)
if NETWORK:
    from multiprocessing.shared_memory import SharedMemory

    block = SharedMemory("cellblock-sibling", create=True, size=len(secret))
    block.buf[: len(secret)] = secret.encode()
    servers = [socket.socket(socket.AF_UNIX), socket.create_server(("127.0.0.1", PORT))]
    servers[0].bind("\\0cellblock-sibling")
    servers[0].listen()

    def serve(server):
        while True:
            server.accept()[0].sendall(secret.encode())

    for server in servers:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
"\\n".join([os.getcwd(), home, temporary])
"""
ATTACKS = corpus.attacks()
ESCAPES_BARE = [attack for attack in ATTACKS if attack.escapes_bare]


class Arena:
    """One sandbox of a tier, with a session that lives beside every attack."""

    def __init__(self, tier: Tier, bait: Bait) -> None:
        self.tier = tier
        self.bait = bait
        self.box = Sandbox(Policy(tier=tier, limits=LIMITS), pool_size=1)
        self.secret = f"sibling:{os.urandom(16).hex()}"
        self.sibling = self.box.session()
        facts = f"SECRET, PORT, NETWORK = {self.secret!r}, {SIBLING_PORT}, {tier == 'namespaces'}"
        places = self.sibling.run(f"{facts}\n{SIBLING}")
        assert places.status == "completed", places
        directory, home, temporary = _echo_of(places).strip("'").split("\\n")
        self.constants = dict(bait.constants) | {
            "SIBLING_DIRECTORY": directory,
            "SIBLING_HOME": home,
            "SIBLING_TEMPORARY": temporary,
            "SIBLING_PORT": SIBLING_PORT,
            "MEMORY_BYTES": LIMITS.memory_bytes,
            "OUTPUT_BYTES": LIMITS.output_bytes,
        }

    def close(self) -> None:
        self.sibling.close()
        self.box.close()


@pytest.fixture(scope="module")
def bait() -> Iterator[Bait]:
    with Bait() as laid:
        yield laid


@pytest.fixture(scope="module")
def arena(tier: Tier, bait: Bait) -> Iterator[Arena]:
    entered = Arena(tier, bait)
    yield entered
    entered.close()


def test_the_corpus_covers_every_category() -> None:
    counts = {category: 0 for category in corpus.CATEGORIES}
    for attack in ATTACKS:
        counts[attack.category] += 1
    assert len(ATTACKS) >= 60
    assert min(counts.values()) >= 10, counts


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_the_attack_is_contained(arena: Arena, attack: Attack) -> None:
    before = arena.bait.state()
    with hang_is_a_failure():
        with arena.box.session() as session:
            outcome = run_all(session, attack, arena)
            assert_ended_as(outcome, attack.expected[arena.tier])
            assert_tells_nothing(outcome_to_json(outcome), arena)
            read_back(session, attack, arena, outcome)
        wait_until_no_foe_is_left()
        assert arena.bait.state() == before, "the attack touched the host"
        assert_others_are_well(arena, attack)


@pytest.mark.parametrize("attack", ESCAPES_BARE, ids=lambda attack: attack.name)
def test_the_attack_escapes_where_there_is_no_jail(attack: Attack) -> None:
    with Bait() as bait:
        said = bait.run_bare(corpus.armed("\n".join(attack.snippets), bait.constants))
    assert "ESCAPED:" in said


# ---- one attack ---------------------------------------------------------------------------------


def run_all(session: Session, attack: Attack, arena: Arena) -> Outcome:
    """The outcome of the last snippet; those before it must run to their end."""
    limits = Limits.model_validate(dict(attack.limits)) if attack.limits else None
    for snippet in attack.snippets[:-1]:
        outcome = session.run(corpus.armed(snippet, arena.constants))
        assert outcome.status == "completed", outcome
    return session.run(corpus.armed(attack.snippets[-1], arena.constants), limits=limits)


def assert_ended_as(outcome: Outcome, expected: Expected) -> None:
    ending = ending_of(outcome)
    assert any(fnmatchcase(ending, pattern) for pattern in expected.endings), outcome
    if expected.layer in LAYERS:
        assert expected.layer in outcome.layers
    for reason in reasons_of(outcome):
        assert any(fnmatchcase(reason, known) for known in expected.reasons), outcome.stdout
    if expected.reasons and outcome.status == "completed" and expected.layer != "protocol":
        # A forged end may overtake what was printed before it.
        assert reasons_of(outcome), outcome.stdout


def ending_of(outcome: Outcome) -> str:
    """The outcome in the words of the corpus."""
    if isinstance(outcome, Raised):
        return f"raised {outcome.error.type}"
    if isinstance(outcome, LimitExceeded):
        return f"limit_exceeded {outcome.limit}"
    if isinstance(outcome, Died):
        if any(denial.layer == "protocol" for denial in outcome.denials):
            return "fault"
        return f"died {outcome.signal or f'exit {outcome.exit_code}'}"
    return outcome.status


def reasons_of(outcome: Outcome) -> set[str]:
    lines = outcome.stdout.splitlines()
    said = [line.removeprefix("contained: ") for line in lines if line.startswith("contained: ")]
    return {reason for line in said for reason in line.split(",")}


def assert_tells_nothing(text: str, arena: Arena) -> None:
    assert "ESCAPED:" not in text
    assert arena.bait.secret not in text
    assert arena.secret not in text


def read_back(session: Session, attack: Attack, arena: Arena, outcome: Outcome) -> None:
    """Read files as a user of the engine would, and go on with the session if it lives."""
    if outcome.state == "lost":
        return
    try:
        names = session.files()
        for name in names[:20]:
            read(session, name, arena)
        for name, answer in attack.written:
            assert write(session, name) in answer.split(" or "), name
        for name, answer in attack.read:
            content = read(session, name, arena)
            if answer != "any":
                assert content in answer.split(" or "), name
        following = session.run("6 * 7", limits=Limits(wall_s=2))
        assert_tells_nothing(outcome_to_json(following), arena)
    except SessionError:
        # An attack may end its own session, and only that.
        assert not attack.read


def write(session: Session, name: str) -> str:
    """ "written" or "refused"."""
    try:
        session.put(name, "put by the host")
    except FileRefused:
        return "refused"
    return "written"


def read(session: Session, name: str, arena: Arena) -> str:
    """The file's text, or "refused"."""
    try:
        content = session.get(name)
    except FileRefused:
        return "refused"
    text = content.decode("utf-8", "replace")
    assert_tells_nothing(text, arena)
    return text


def assert_others_are_well(arena: Arena, attack: Attack) -> None:
    alive = arena.sibling.run("secret, open('secret.txt').read() == secret")
    assert alive.text == repr((arena.secret, True)), alive
    for echo in attack.sibling:
        assert arena.sibling.run(echo.code).text == echo.text
    with arena.box.session() as fresh:
        assert fresh.files() == []
        for code, text in [("6 * 7", "42"), *((echo.code, echo.text) for echo in attack.fresh)]:
            assert fresh.run(code).text == text


def wait_until_no_foe_is_left() -> None:
    """Every process that descends from an attack bears its name."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while foes := foes_alive():
        assert time.monotonic() < deadline, f"processes outlived their session: {foes}"
        time.sleep(0.01)


def foes_alive() -> list[int]:
    found = []
    wanted = f"{corpus.foe()}\n".encode()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            # Names of processes are bytes, and need not be text.
            with open(f"/proc/{name}/comm", "rb") as stream:
                is_foe = stream.read() == wanted
        except (FileNotFoundError, ProcessLookupError):
            continue
        if is_foe:
            found.append(int(name))
    return found


@contextmanager
def hang_is_a_failure() -> Iterator[None]:
    def fail(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"the engine was held up for {HANG_S} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _echo_of(outcome: Outcome) -> str:
    assert outcome.text is not None
    return outcome.text
