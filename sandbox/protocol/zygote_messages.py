"""Messages of the zygote channel: host <-> zygote, both trusted."""

from typing import Annotated

from sandbox.protocol.bounds import (
    NAME_CAP,
    Count,
    GroupCount,
    LayerNames,
    items,
    seconds,
    text,
)
from sandbox.protocol.codec import Message, message

MiB = 1024 * 1024

Directory = Annotated[str, text(4096)]


@message(1, "to_zygote")
class Plan(Message):
    """The environment to become; `plan` is `JailPlan.to_json` as text.

    `cgroups` names the groups that end with the zygote, one below each of the descriptors that
    come along; `directory` is removed with it too, if not empty.
    """

    plan: Annotated[str, text(4 * MiB)]
    cgroups: Annotated[list[str], items(text(NAME_CAP), 8)]
    directory: Directory


@message(2, "to_zygote")
class Spawn(Message):
    """Fork a worker. Descriptors come with it: control, guest, stdout, stderr, then `cgroups`.

    `directory` is the session's own directory on the host where no mount namespace gives it
    one; empty otherwise.
    """

    session: Count
    cgroups: GroupCount
    directory: Directory


@message(5, "to_zygote")
class SpawnHolder(Message):
    """Fork the holder of a reused jail. Descriptors: its channel, then `cgroups`.

    It takes `Spawn` on that channel, with no cgroups: its sessions join those of the jail.
    """

    cgroups: GroupCount


@message(3, "from_zygote")
class ZygoteReady(Message):
    """The root is built and the preloads are imported. `layers` are the names that hold."""

    layers: LayerNames
    python: Annotated[str, text(200)]
    preload_s: Annotated[float, seconds()]
    data_bytes: Count


@message(4, "from_zygote", "from_init")
class Failed(Message):
    """A step of the start-up failed; nothing of the guest has run. From the zygote or init."""

    step: Annotated[str, text(200)]
    message: Annotated[str, text(20_000)]
