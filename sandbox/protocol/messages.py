"""Every message between host and guest, by channel; from here all of them are imported.

Theory of operation
===================

Four kinds of channel, each a stream socketpair that carries frames:

* **zygote channel** (host <-> zygote, both trusted; `zygote_messages`). The host sends `Plan`
  once, then `Spawn` with descriptors attached. The zygote answers `ZygoteReady`, or `Failed`
  naming the step.
* **control channel** (host <-> worker init, both trusted; `control_messages`). The session process
  sends the host `Ready` on it when every layer holds, before it runs any snippet, and closes it.
  From then on init alone has it: it sends `Exited` for each process that the host watches, and
  obeys `Interrupt`, `Kill`, `Watch`, `Pause`, and for branches `Branch`, `AllowSetns`, `Confirm`
  and `KillEscaped`. Where the session is traced it sends `CallRefused` for what the filter
  refuses, and counts in answer to `TakeRefusals`. It runs no guest code, so it is believed.
* **builder channel** (host -> namespace builder, both trusted; `control_messages` too). The host
  sends `BuildNamespaces` for each branch; the branch's init answers on a control channel of its
  own, with `NamespacesReady`.
* **guest channel** (host <-> one session process, hostile from its first snippet on;
  `guest_messages`). The host sends `Run`, `Call`, `ForkCopy`, `Check`, `Measure`, `Warm`,
  `EnterNamespaces`. The guest answers `Run` and `Call` with any number of `Display`,
  `ClearDisplays`, `Denied` and `Attempted` and exactly one `Done`, `Warm` with nothing, the others
  with one message. A copy of the process has a channel of its own, on which its first word is
  `CopyReady`; then it serves like the original. All that a guest says can be forged, and none of
  it is trusted beyond that session: each field is bounded, a message out of place is a fault, and
  the host decides from what the kernel said (wait status, limits hit) before it looks at `Done`.

Each message is declared once, in the module of its channel: `@message(kind, direction)` over its
fields, each annotated with its bound. `codec` packs and unpacks them.
"""

from sandbox.protocol.codec import *  # noqa: F403
from sandbox.protocol.control_messages import *  # noqa: F403
from sandbox.protocol.guest_messages import *  # noqa: F403
from sandbox.protocol.zygote_messages import *  # noqa: F403
