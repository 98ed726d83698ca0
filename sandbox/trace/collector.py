"""Collects what a traced snippet tried, and says it as attempts and denials.

Two witnesses tell. Init names the calls that the kernel's filter refused: that they were tried, and
refused, is certain. The guest's own interpreter names files, programs and addresses with their
line: that is the guest's word, which a hostile snippet can forge or leave out. Where both tell of
one thing, init's word stands and the guest adds the line.
"""

import errno
from collections.abc import Iterator

from sandbox.outcome import Attempt, Denial
from sandbox.protocol.messages import ATTEMPTS_CAP, AttemptCounts, Attempted, CallRefused
from sandbox.protocol.plan import JailPlan
from sandbox.trace import remedies
from sandbox.trace.call_refusals import CallRefusals, CountedCall

COUNTS_WITHIN_S = 0.5
OUT_OF_PLACE = "more attempts than a snippet may tell"
ACTIONS = (  # calls                                                 what they are tried for
    ("socket socketpair", "socket"),
    ("connect", "connect"),
    ("bind listen accept accept4", "bind"),
    ("kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal", "signal"),
    ("chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat", "mode"),
    ("utime utimes futimesat utimensat", "mode"),
    ("ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp process_madvise", "inspect"),
    ("mount umount2 pivot_root chroot open_tree move_mount fsopen fsmount fspick", "mount"),
    ("unshare setns clone", "namespace"),
    ("open openat truncate", "write"),
)
ACTION_OF = {call: action for calls, action in ACTIONS for call in calls.split()}
SAME = {"socket": ("family", "type"), "signal": ("target",), "connect": (), "mode": ()}
"""Actions that the guest tells too, and the arguments that are then equal."""


class Tracing:
    """The trace of one snippet, of a session that is traced."""

    def __init__(self, plan: JailPlan) -> None:
        self._plan = plan
        self._guest: list[Attempted] = []
        self._counts: AttemptCounts | None = None
        self._calls: list[CountedCall] = []
        self._left_out = 0

    def hear(self, message: Attempted | AttemptCounts) -> bool:
        """Keep what the guest says; False for more than a snippet may say."""
        if isinstance(message, AttemptCounts):
            is_first = self._counts is None
            self._counts = message
            return is_first
        if self._counts is not None or len(self._guest) >= ATTEMPTS_CAP:
            return False
        self._guest.append(message)
        return True

    async def finish(self, refused: CallRefusals) -> None:
        """Take from init what the filter refused."""
        self._calls, self._left_out = await refused.take(within_s=COUNTS_WITHIN_S)

    def attempts(self) -> tuple[Attempt, ...]:
        """Everything that was tried: what init tells first, then the guest's word in its order."""
        told = list(self._counted())
        found = []
        for call, count in self._calls:
            line, path = self._seen_by_guest(call, told)
            found.append(_of_call(call, count, line, path, self._plan))
        found += [_of_guest(one, count, self._plan) for one, count in told]
        return (*found, *self._rest())

    def denials(self, attempts: tuple[Attempt, ...]) -> tuple[Denial, ...]:
        """Those of `attempts` that were refused; imports were told when they were."""
        return tuple(
            Denial(
                layer=one.layer,
                tried=one.tried,
                rule=one.rule,
                line=one.line,
                arguments=one.arguments,
                allow_with=one.allow_with,
                sentence=one.sentence,
                count=one.count,
                is_guests_word=one.is_guests_word,
            )
            for one in attempts
            if not one.is_allowed and one.action != "import"
        )

    def _counted(self) -> Iterator[tuple[Attempted, int]]:
        counts = self._counts.counts if self._counts is not None else []
        for place, one in enumerate(self._guest):
            yield one, counts[place] if place < len(counts) else 1

    def _seen_by_guest(
        self, call: CallRefused, told: list[tuple[Attempted, int]]
    ) -> tuple[int, str]:
        """The line that the guest gives for a refused call, and the path; its own word goes."""
        action = ACTION_OF.get(call.call, "")
        for place, (one, _count) in enumerate(told):
            if one.action == action and action in SAME:
                named = SAME[action]
                if all(one.arguments.get(name) == call.arguments.get(name) for name in named):
                    if action != "connect":
                        del told[place]
                    return one.line, one.arguments.get("path", "")
        if call.is_read:
            return 0, ""  # Another program's: the memory of the session process is not readable.
        for function in (call.call, "syscall"):
            for one, _count in told:
                if one.action == "native" and one.arguments.get("function") == function:
                    return one.line, ""
        return 0, ""

    def _rest(self) -> Iterator[Attempt]:
        """What was counted and not listed, as one row each."""
        for count, layer, is_guests in (
            (self._left_out, "seccomp", False),
            (self._counts.left_out if self._counts is not None else 0, "guest", True),
        ):
            if count:
                yield Attempt(
                    layer=layer,
                    action="more",
                    tried="further attempts, counted and not listed",
                    is_allowed=is_guests,
                    rule="" if is_guests else "see the rows before",
                    is_guests_word=is_guests,
                    count=count,
                )


def _of_call(call: CallRefused, count: int, line: int, path: str, plan: JailPlan) -> Attempt:
    arguments = dict(call.arguments)
    if path and "path" not in arguments:
        arguments["path"] = path
    named = ", ".join(f"{name}={value}" for name, value in arguments.items())
    if call.program:
        arguments["process"] = call.program
    code = errno.errorcode.get(call.errno, str(call.errno))
    action = ACTION_OF.get(call.call, "call")
    return Attempt(
        layer="seccomp",
        action=action,
        tried=f"{call.call}({named})",
        arguments={**arguments, "call": call.call},
        line=line,
        is_allowed=False,
        rule=f"{call.call} -> {code}: {call.why}",
        allow_with=remedies.for_call(action, plan.tier),
        sentence=remedies.call_sentence(call.call, code, call.why),
        is_guests_word=call.is_read,
        count=count,
    )


def _of_guest(one: Attempted, count: int, plan: JailPlan) -> Attempt:
    refused = not one.is_allowed
    return Attempt(
        layer=one.layer,
        action=one.action,
        tried=one.tried,
        arguments=one.arguments,
        line=one.line,
        is_allowed=one.is_allowed,
        rule=one.rule,
        allow_with=remedies.allow_with(one.action, one.arguments, plan.tier) if refused else "",
        sentence=remedies.sentence(one.action, one.tried, one.rule) if refused else "",
        is_guests_word=True,
        count=count,
    )
