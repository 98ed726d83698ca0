"""Tracing: spans of requests, model rounds, tool calls and code, for OpenTelemetry.

On where one of OpenTelemetry's standard variables says so (`OTEL_TRACES_EXPORTER`, or an endpoint
in `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`); the SDK reads the rest.
Off, it is one comparison for each span, and the library is not loaded. Names and attributes are
those of the semantic conventions for HTTP and for generative AI. Of content there is nothing but
with `log_content`.
"""

import os
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from runner.errors import ConfigError
from runner.extras import install_command

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
ATTRIBUTE_CHARS = 4_000
EVENTS_MOST = 20
CURRENT: ContextVar[Any] = ContextVar("span", default=None)
"""The span of the request that the current task works for."""


class Tracing:
    """Makes spans with `tracer`; without one it does nothing."""

    def __init__(self, tracer: "Tracer | None" = None, provider: Any = None) -> None:
        self.tracer = tracer
        self._provider = provider

    def request(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> "Span | None":
        """Begin the span of an HTTP request, below the client's own if it sent one."""
        if self.tracer is None:
            return None
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        names = (b"traceparent", b"tracestate")
        sent = {name.decode(): value.decode("latin-1") for name, value in headers if name in names}
        span = self.tracer.start_span(method, extract(sent), SpanKind.SERVER)
        span.set_attribute("http.request.method", method)
        CURRENT.set(span)
        return span

    def child(
        self,
        name: str,
        facts: Mapping[str, Any],
        *,
        parent: "Span | None" = None,
        is_client: bool = False,
    ) -> "Span | None":
        """Begin a span below `parent`, or below the request of the current task."""
        if self.tracer is None:
            return None
        from opentelemetry.trace import SpanKind

        kind = SpanKind.CLIENT if is_client else SpanKind.INTERNAL
        return self.tracer.start_span(name, _within(parent or CURRENT.get()), kind, dict(facts))

    def close(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()


def from_environment(environ: Mapping[str, str] | None = None) -> Tracing:
    """What the variables ask for. Raises ConfigError where they do and it is not installed."""
    env = os.environ if environ is None else environ
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Tracing()
    exporter = env.get("OTEL_TRACES_EXPORTER", "")
    if exporter == "none" or not (exporter or any(env.get(name) for name in ENDPOINTS)):
        return Tracing()
    if exporter not in ("", "otlp"):
        raise ConfigError("OTEL_TRACES_EXPORTER", f"is {exporter[:40]!r}", 'Only "otlp" is known')
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise ConfigError(
            "", f"OpenTelemetry is asked for and {error.name} is missing", install_command("otel")
        ) from error
    name = env.get("OTEL_SERVICE_NAME") or "cellblock"
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider.get_tracer("cellblock"), provider)


def finish(span: "Span | None", facts: Mapping[str, Any], *, error: str = "") -> None:
    """End a span with what is known now; `error` names the kind of failure."""
    if span is None:
        return
    span.set_attributes({name: value for name, value in facts.items() if value is not None})
    if error:
        from opentelemetry.trace import Status, StatusCode

        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def refused(span: "Span | None", denials: Iterable[Mapping[str, Any]], *, content: bool) -> None:
    """Add an event for each refusal; what was tried only with `content`."""
    if span is None:
        return
    for denial in list(denials)[:EVENTS_MOST]:
        facts = {"cellblock.layer": str(denial.get("layer", ""))}
        if content:
            facts["cellblock.tried"] = str(denial.get("tried", ""))[:ATTRIBUTE_CHARS]
        span.add_event("cellblock.refusal", facts)


def _within(span: "Span | None") -> "Context | None":
    if span is None:
        return None
    from opentelemetry.trace import set_span_in_context

    return set_span_in_context(span)
