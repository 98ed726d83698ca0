"""`cellblock run`: one snippet, its output as it comes, its outcome as the exit status."""

import os
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from runner.commands.printing import wording
from runner.commands.printing.displays import kinds, without_echo
from runner.terminal import GuestWriter, drop, escaped
from sandbox import (
    Cleared,
    Displayed,
    Event,
    FileRefused,
    Finished,
    Outcome,
    Policy,
    Raised,
    Sandbox,
    Session,
    SessionError,
    Stderr,
    Stdout,
    exit_status,
    outcome_to_json,
)

EXIT_FILE_MISSING = 125
FILE_MODE = 0o666


@dataclass(frozen=True)
class RunRequest:
    """A snippet with what it may use. `put` are paths of the host, `get` of the workspace."""

    code: str
    policy: Policy
    script: str = ""
    """Name of the file that the code is; empty for code that is in none."""
    stdin: str | None = None
    put: tuple[str, ...] = ()
    get: tuple[str, ...] = ()
    as_json: bool = False
    explain: bool = False
    packages: tuple[str, ...] = ()
    """Laid into the session before the snippet; the rest says where they come from."""
    find_links: tuple[str, ...] = ()
    offline: bool = False
    index_url: str | None = None
    keep_going: bool = False
    report: Path | None = None
    """Where the account goes as Markdown."""
    log: Path | None = None
    """The hash-chained log that the account is added to."""

    @property
    def is_traced(self) -> bool:
        """Whether an account of what was tried is asked for."""
        return self.explain or self.keep_going or self.report is not None or self.log is not None


def execute(request: RunRequest) -> int:
    """Run the snippet; the exit status."""
    if not _can_keep_account(request):
        return EXIT_FILE_MISSING
    policy = request.policy
    if not request.get:
        # Nothing is asked of the session after its only snippet.
        policy = policy.model_copy(update={"survive": False})
    if request.is_traced:
        policy = policy.model_copy(update={"trace": True})
    if request.keep_going:
        policy = going_on(policy)
    with Sandbox(policy, pool_size=0) as box, box.session() as session:
        if request.packages:
            session.install(
                request.packages,
                find_links=request.find_links,
                offline=request.offline,
                index_url=request.index_url,
            )
        for path in request.put:
            put(session, Path(path))
        if request.script:
            # A program may read itself, and the processes that it starts import it.
            session.put(request.script, request.code)
        findings = session.check(request.code).findings if request.is_traced else []
        outcome = _run(session, request)
        if request.is_traced:
            from runner.commands.explaining.verdict import judge

            outcome = outcome.model_copy(update={"verdict": judge(outcome, findings)})
        missing = [path for path in request.get if not get(session, path)]
    is_kept = _keep_account(outcome, request)
    if request.explain:
        from runner.commands.printing.consoles import console
        from runner.commands.printing.explain import explain

        explain(outcome, console(stderr=True))
    if request.as_json:
        print(outcome_to_json(outcome), flush=True)
    return exit_status(outcome) or (EXIT_FILE_MISSING if missing or not is_kept else 0)


def going_on(policy: Policy) -> Policy:
    """Return `policy` with imports refused that would end the process, and errors passed over."""
    imports = policy.import_policy
    rules = tuple(
        replace(rule, action="refuse") if rule.action == "kill" else rule for rule in imports.rules
    )
    default = "refuse" if imports.default == "kill" else imports.default
    softer = imports.model_copy(update={"rules": rules, "default": default})
    return policy.model_copy(update={"imports": softer, "keep_going": True})


def _can_keep_account(request: RunRequest) -> bool:
    """Whether the log that was asked for can be added to; a snippet whose run could not does not
    run.
    """
    if request.log is None:
        return True
    from runner.commands.explaining import event_log

    try:
        event_log.require_whole(request.log)
    except OSError as error:
        tell(f"{request.log}: cannot be added to: {error.strerror}. Nothing was run")
    except ValueError as error:
        tell(f"{request.log}: {error}. Nothing was run; name a new file, or move this one away")
    else:
        return True
    return False


def _keep_account(outcome: Outcome, request: RunRequest) -> bool:
    """Write the report and the log that were asked for; whether both could be written."""
    name = request.script or "snippet"
    verdict = outcome.verdict
    if verdict is None:
        return True
    try:
        if request.report is not None:
            from runner.commands.explaining.report import report

            text = report(outcome, verdict, request.code, name)
            request.report.write_text(text, encoding="utf-8")
        if request.log is not None:
            from runner.commands.explaining import event_log

            events = event_log.events_of(outcome, verdict, request.code, name)
            event_log.append(request.log, events)
    except OSError as error:
        tell(f"{error.filename}: cannot be written: {error.strerror}")
        return False
    except ValueError as error:
        tell(f"{request.log}: nothing was added: {error}")
        return False
    return True


def put(session: Session, path: Path) -> None:
    """Copy a file or a directory of the host into the workspace, under its own name.

    Raises FileRefused, also for what cannot be read.
    """
    root = Path(os.path.abspath(path))
    # Inside a directory a FIFO or a socket is passed by; reading one could wait for ever.
    inside = (file for file in root.rglob("*") if file.is_file())
    for file in sorted(inside) if root.is_dir() else [root]:
        try:
            data = file.read_bytes()
        except OSError as error:
            raise FileRefused(str(file), error.strerror or str(error)) from error
        session.put(file.relative_to(root.parent).as_posix(), data)


def get(session: Session, path: str) -> bool:
    """Copy the file `path` of the workspace into this directory; False if it cannot be had."""
    try:
        write_here(os.path.basename(path.rstrip("/")), session.get(path))
    except (FileRefused, SessionError) as error:
        tell(str(error))
    except OSError as error:
        tell(f"{path!r} cannot be written here: {error.strerror}")
    else:
        return True
    return False


def write_here(name: str, data: bytes) -> None:
    """Put a new file in the place of `name`, whatever stood there: no link is written through."""
    fd, temporary = tempfile.mkstemp(prefix=".cellblock-", dir=".")
    try:
        with open(fd, "wb") as stream:
            stream.write(data)
            os.fchmod(fd, FILE_MODE & ~_umask())
        os.replace(temporary, name)
    except BaseException:
        os.unlink(temporary)
        raise


def tell(words: str) -> None:
    """Say something of the engine's own on stderr."""
    print(f"cellblock: {escaped(words)}", file=sys.stderr, flush=True)


def _run(session: Session, request: RunRequest) -> Outcome:
    if request.as_json:
        return session.run(request.code, stdin=request.stdin, script=request.script)
    page = Page()
    is_awaited = request.report is not None or request.log is not None or bool(request.get)
    for event in session.stream(request.code, stdin=request.stdin, script=request.script):
        try:
            page.take(event)
        except BrokenPipeError:
            # What is asked for beside its output is made all the same: `run --report F | head`.
            if not is_awaited:
                raise
            drop(sys.stdout)
            if isinstance(event, Stderr):
                drop(sys.stderr)
            page.take(event)
    return page.outcome


class Page:
    """Writes the events of a snippet to this process's stdout and stderr as they come."""

    outcome: Outcome
    """Set when the snippet has finished."""

    def __init__(self) -> None:
        self._stdout = GuestWriter(sys.stdout)
        self._stderr = GuestWriter(sys.stderr)
        self._waiting: list[Displayed] = []
        self._places: list[int] = []
        """Where each display of the snippet waits; -1 for one that was written."""

    def take(self, event: Event) -> None:
        """Write what `event` has to say."""
        match event:
            case Stdout():
                self._show_waiting()
                self._stdout.write(event.text, event.raw)
            case Stderr():
                self._show_waiting()
                self._stderr.write(event.text, event.raw)
            case Displayed():
                # Which of the last ones is the echo is known at the end.
                if event.replaces is None:
                    self._places.append(len(self._waiting))
                    self._waiting.append(event)
                elif self._places[event.replaces] >= 0:
                    self._waiting[self._places[event.replaces]] = event
                else:
                    self._waiting.append(event)  # What it replaces is on the terminal already.
            case Cleared():
                self._waiting.clear()
                self._places.clear()
            case Finished():
                self._finish(event.outcome)

    def _show_waiting(self) -> None:
        for shown in self._waiting:
            self._stdout.write_line(shown.bundle.get("text/plain", ""))
        self._waiting.clear()
        self._places = [-1] * len(self._places)

    def _finish(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._waiting = without_echo(self._waiting, outcome.text)
        self._show_waiting()
        if outcome.text is not None:
            self._stdout.write_line(outcome.text)
        if isinstance(outcome, Raised) and outcome.error.exit_code is None:
            self._stderr.write_line(outcome.error.traceback)
        elif isinstance(outcome, Raised) and outcome.error.exit_text is not None:
            self._stderr.write_line(outcome.error.exit_text)
        self._stdout.finish()
        self._stderr.finish()
        if outcome.status not in ("completed", "raised"):
            tell(wording.ending(outcome))
        pictures = [kind for kind in kinds(outcome.displays) if kind.startswith("image/")]
        if pictures:
            count = "1 picture was" if len(pictures) == 1 else f"{len(pictures)} pictures were"
            tell(f"{count} shown; --json has it all, or save to a file and --get it")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
