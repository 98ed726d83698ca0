"""Serves one session's proxy, and says what each snippet asked of it."""

import os
import socket
from typing import NamedTuple

from sandbox.network.access import NetworkAccess
from sandbox.network.proxy import NetworkUsage, Proxy, Refusal
from sandbox.network.rules import NetworkRule
from sandbox.outcome import Denial
from sandbox.processes.worker import Worker

REFUSALS_KEPT = 100
"""Different ones of one snippet; those beyond, and the same one again, are counted."""


class NetworkBill(NamedTuple):
    """What one snippet's requests came to."""

    denials: tuple[Denial, ...]
    usage: NetworkUsage


NO_BILL = NetworkBill((), NetworkUsage())


class SessionNetwork:
    """The way out of one session; of no effect where the policy has no network."""

    def __init__(self, access: NetworkAccess | None, worker: Worker) -> None:
        self._worker = worker
        self._proxy: Proxy | None = None
        self._is_served = False
        self._refusals: dict[Refusal, int] = {}
        self._left_out = 0
        self._billed = NetworkUsage()
        self._refused: dict[int, NetworkRule] = {}
        if access is not None and access.is_open:
            self._proxy = access.proxy(self._on_refused)
            self._refused = {rule.port: rule for rule in access.refused}

    async def serve(self) -> None:
        """Begin to accept what the session's processes ask for; once is enough."""
        if self._proxy is not None and not self._is_served:
            self._is_served = True
            first, *others = map(_socket_of, self._worker.listeners)
            await self._proxy.start(first)
            ports = self._worker.plan.listen_ports[1:]
            for listener, port in zip(others, ports, strict=True):
                if port in self._refused:
                    await self._proxy.refuse(listener, self._refused[port])
                else:
                    await self._proxy.forward(listener, port)

    def bill(self) -> NetworkBill:
        """What was asked since the last bill."""
        if self._proxy is None:
            return NO_BILL
        now, before = self._proxy.usage.copy(), self._billed
        self._billed = now
        denials = [_denial(one, count) for one, count in self._refusals.items()]
        if self._left_out:
            denials.append(_further(self._left_out))
        self._refusals, self._left_out = {}, 0
        spent = NetworkUsage(
            requests=now.requests - before.requests,
            sent_bytes=now.sent_bytes - before.sent_bytes,
            received_bytes=now.received_bytes - before.received_bytes,
        )
        return NetworkBill(tuple(denials), spent)

    def close(self) -> None:
        """End every connection. Does not wait."""
        if self._proxy is not None:
            self._proxy.abort()

    def _on_refused(self, refusal: Refusal) -> None:
        if refusal in self._refusals or len(self._refusals) < REFUSALS_KEPT:
            self._refusals[refusal] = self._refusals.get(refusal, 0) + 1
        else:
            self._left_out += 1


def _socket_of(fd: int) -> socket.socket:
    made = socket.socket(fileno=os.dup(fd))
    made.setblocking(False)
    return made


def _denial(refusal: Refusal, count: int) -> Denial:
    return Denial(
        layer="network",
        tried=refusal.tried,
        rule=refusal.rule,
        hint=refusal.hint,
        arguments={"method": refusal.method, "host": refusal.host, "port": str(refusal.port)},
        allow_with=refusal.allow_with,
        sentence=f"The request {refusal.tried} was not sent: {refusal.hint}.",
        count=count,
    )


def _further(count: int) -> Denial:
    return Denial(
        layer="network",
        tried="further requests, counted and not listed",
        rule="see the rows before",
        sentence="Further requests to other hosts were not sent.",
        count=count,
    )
