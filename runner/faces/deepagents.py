"""deepagents: a session as the sandbox that an agent's file tools and `execute` work in.

The package derives ls, read, write, edit, grep and glob from the four methods here.
Source: the package deepagents, `backends/protocol.py` and `backends/sandbox.py`.
"""

from deepagents.backends.protocol import (
    ExecuteResponse,
    FileDownloadResponse,
    FileUploadResponse,
)
from deepagents.backends.sandbox import BaseSandbox

from runner.faces.shell import TIMED_OUT, is_cut, new_name, status_of
from sandbox import (
    FileIsDirectory,
    FileNotDirectory,
    FileNotPermitted,
    FileNotThere,
    FileRefused,
    Session,
)

TIMEOUT_S = 120.0
LONGEST_S = 24 * 3600.0
"""What 0 stands for, by which the package means no limit of time."""
INLINE_BYTES = 100_000
"""A longer command goes through a file: execve(2) takes 128 KiB in one argument."""
BOTH_STREAMS = "exec 2>&1\n"


class CellblockSandbox(BaseSandbox):
    """A sandbox backend on a session, which stays its owner's to close."""

    # Shell, coreutils and a writable /tmp are there, which is all that the capture asks for.
    enable_capture_offload = True

    def __init__(self, session: Session, *, timeout_s: float = TIMEOUT_S) -> None:
        """`timeout_s` is for commands that come without one."""
        self._session = session
        self._timeout_s = timeout_s
        self._id = new_name()

    @property
    def id(self) -> str:
        """A name of its own."""
        return self._id

    def execute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """Run `command` in a shell; stdout and stderr come as one, in their order.

        124 is the status of what ran out of time. Raises SandboxError when the session is gone.
        """
        timeout_s = self._timeout_s if timeout is None else float(timeout) or LONGEST_S
        script = BOTH_STREAMS + command
        if len(script.encode()) <= INLINE_BYTES:
            result = self._session.exec(["/bin/sh", "-c", script], timeout_s=timeout_s)
        else:
            path = f"/tmp/.command-{new_name()}"
            self._session.put(path, script)
            try:
                result = self._session.exec(["/bin/sh", path], timeout_s=timeout_s)
            finally:
                self._session.remove(path)
        output, status = result.text, status_of(result)
        if result.timed_out:
            output, status = f"{output}\nEnded after {timeout_s:g} s, its limit.", TIMED_OUT
        elif result.limit:
            output = f"{output}\nEnded: it wrote more than {result.limit} allows."
        return ExecuteResponse(output=output, exit_code=status, truncated=is_cut(result))

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        """Write files, each by itself; an answer's `error` says why one was not written."""
        return [FileUploadResponse(path=path, error=self._put(path, data)) for path, data in files]

    def download_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        """Read files, each by itself; an answer's `error` says why one was not read."""
        return [self._get(path) for path in paths]

    def _put(self, path: str, data: bytes) -> str | None:
        if not path.startswith("/"):
            return "invalid_path"
        try:
            self._session.put(path, data)
        except FileRefused as error:
            return _reason(error)
        return None

    def _get(self, path: str) -> FileDownloadResponse:
        if not path.startswith("/"):
            return FileDownloadResponse(path=path, error="invalid_path")
        try:
            return FileDownloadResponse(path=path, content=self._session.get(path))
        except FileRefused as error:
            return FileDownloadResponse(path=path, error=_reason(error))


def _reason(error: FileRefused) -> str:
    """The package's word for a refusal, or the refusal itself where it has none."""
    match error:
        case FileNotThere():
            return "file_not_found"
        case FileIsDirectory():
            return "is_directory"
        case FileNotPermitted():
            return "permission_denied"
        case FileNotDirectory():
            return "invalid_path"
    return str(error)
