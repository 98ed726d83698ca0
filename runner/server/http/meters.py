"""Meters: OpenTelemetry's histograms of requests, turns of models, tool calls and runs.

On as tracing is, by `OTEL_METRICS_EXPORTER` or an endpoint. Names and bounds of what the semantic
conventions know are theirs; the rest begins with `cellblock`.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runner.server.http.tracing import is_asked_for, method_name, not_installed, resource
from sandbox import Usage

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, Meter

MiB = 1024 * 1024
HTTP_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 300)
MODEL_S = tuple(0.01 * 2**power for power in range(14))
TOKENS = tuple(4.0**power for power in range(14))
RUN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
BYTES = tuple(float(2**power * MiB) for power in range(4, 14))
HISTOGRAMS = (
    ("http.server.request.duration", "s", HTTP_S, "A request, to the last byte of its answer."),
    ("gen_ai.client.operation.duration", "s", MODEL_S, "A turn of a model or a tool call."),
    ("gen_ai.client.token.usage", "{token}", TOKENS, "Tokens of a turn of a model."),
    ("cellblock.run.duration", "s", RUN_S, "Code, from its hand-over to its end."),
    ("cellblock.run.cpu", "s", RUN_S, "CPU time of a run, its child processes included."),
    ("cellblock.run.peak_memory", "By", BYTES, "The most memory that a run had at once."),
)


class Meters:
    """Records in histograms of `meter`; without one it does nothing."""

    def __init__(self, meter: "Meter | None" = None, provider: Any = None) -> None:
        self._provider = provider
        self._made: dict[str, Histogram] = {}
        if meter is not None:
            self._made = {
                name: meter.create_histogram(
                    name, unit, words, explicit_bucket_boundaries_advisory=bounds
                )
                for name, unit, bounds, words in HISTOGRAMS
            }

    def request(self, method: str, route: str, status: int, took_s: float) -> None:
        """Record an answered request."""
        if not self._made:
            return
        facts: dict[str, Any] = {
            "http.request.method": method_name(method),
            "http.route": route,
            "http.response.status_code": status,
        }
        if status >= 500:
            facts["error.type"] = str(status)
        self._made["http.server.request.duration"].record(took_s, facts)

    def turn(self, model: str, took_s: float, *, read: int, written: int) -> None:
        """Record a turn of a model with its tokens."""
        if not self._made:
            return
        facts = {"gen_ai.operation.name": "chat", "gen_ai.request.model": model}
        self._made["gen_ai.client.operation.duration"].record(took_s, facts)
        tokens = self._made["gen_ai.client.token.usage"]
        for kind, count in (("input", read), ("output", written)):
            if count:
                tokens.record(count, {**facts, "gen_ai.token.type": kind})

    def call(self, tool: str, status: str, took_s: float) -> None:
        """Record a tool call of a model."""
        if not self._made:
            return
        facts = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool}
        if status != "completed":
            facts["error.type"] = status
        self._made["gen_ai.client.operation.duration"].record(took_s, facts)

    def ran(self, via: str, status: str, usage: Usage) -> None:
        """Record a run of code."""
        if not self._made:
            return
        facts = {"cellblock.via": via, "cellblock.status": status}
        self._made["cellblock.run.duration"].record(usage.wall_s, facts)
        self._made["cellblock.run.cpu"].record(usage.cpu_user_s + usage.cpu_system_s, facts)
        self._made["cellblock.run.peak_memory"].record(usage.peak_memory_bytes, facts)

    def close(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()


def from_environment(environ: Mapping[str, str] | None = None) -> Meters:
    """What the variables ask for. Raises ConfigError where they do and it is not installed."""
    env = os.environ if environ is None else environ
    if not is_asked_for("METRICS", env):
        return Meters()
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    except ModuleNotFoundError as error:
        raise not_installed(error) from error
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    provider = MeterProvider([reader], resource=resource(env))
    return Meters(provider.get_meter("cellblock"), provider)
