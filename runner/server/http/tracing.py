"""Tracing: spans of requests, model rounds, tool calls and code, for OpenTelemetry.

On where one of OpenTelemetry's standard variables says so (`OTEL_TRACES_EXPORTER`, or an endpoint
in `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`); the SDK reads the rest.
Off, it is one comparison for each span, and the library is not loaded. Names and attributes are
those of the semantic conventions for HTTP and for generative AI. Of content there is nothing but
with `log_content`. The histograms of `meters` are asked for in the same way.
"""

import os
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from runner.errors import ConfigError
from runner.extras import install_command

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.trace import Span, Tracer

PROTOCOL = "http/protobuf"
"""The one way to send that is installed with the extra."""
ATTRIBUTE_CHARS = 4_000
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
CURRENT: ContextVar[Any] = ContextVar("span", default=None)
"""The span of the request that the current task works for."""

CONNECTION: ContextVar[Any] = ContextVar("connection", default=None)
"""The span of the connection on which the current task answers one message after the other."""


class Tracing:
    """Makes spans with `tracer`; without one it does nothing."""

    def __init__(self, tracer: "Tracer | None" = None, provider: Any = None) -> None:
        self.tracer = tracer
        self._provider = provider

    def request(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> "Span | None":
        """Begin the span of an HTTP request, below the client's own if it sent one."""
        if self.tracer is None:
            return None
        from opentelemetry.trace import SpanKind

        sent = {
            name.decode(): value.decode("latin-1")
            for name, value in headers
            if name in (b"traceparent", b"tracestate")
        }
        span = self.tracer.start_span(method_name(method), _sent_context(sent), SpanKind.SERVER)
        CURRENT.set(span)
        return span

    def child(
        self,
        name: str,
        facts: Mapping[str, Any],
        *,
        parent: "Span | None" = None,
        is_client: bool = False,
        began_ns: int | None = None,
    ) -> "Span | None":
        """Begin a span below `parent`, or below the request of the current task.

        `began_ns` is for what is over already, in nanoseconds since 1970.
        """
        if self.tracer is None:
            return None
        from opentelemetry.trace import SpanKind

        kind = SpanKind.CLIENT if is_client else SpanKind.INTERNAL
        above = _within(parent or CURRENT.get())
        return self.tracer.start_span(name, above, kind, facts, start_time=began_ns)

    def begin(self, name: str) -> "Span | None":
        """Begin a span that what the current task does from now on is below.

        For what is asked on a connection: the span above stays that of the connection.
        """
        if self.tracer is None:
            return None
        connection = CONNECTION.get()
        if connection is None:
            CONNECTION.set(connection := CURRENT.get())
        span = self.child(name, {}, parent=connection)
        CURRENT.set(span)
        return span

    def close(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()


def from_environment(environ: Mapping[str, str] | None = None) -> Tracing:
    """What the variables ask for. Raises ConfigError where they do and it is not installed."""
    env = os.environ if environ is None else environ
    if not is_asked_for("TRACES", env):
        return Tracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise not_installed(error) from error
    provider = TracerProvider(resource=resource(env))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider.get_tracer("cellblock"), provider)


def is_asked_for(signal: Literal["TRACES", "METRICS"], env: Mapping[str, str]) -> bool:
    """Whether the variables want `signal` to be sent. Raises ConfigError for what is not known."""
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = env.get(f"OTEL_{signal}_EXPORTER", "")
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    if exporter == "none" or not (exporter or any(env.get(name) for name in endpoints)):
        return False
    if exporter not in ("", "otlp"):
        name = f"OTEL_{signal}_EXPORTER"
        raise ConfigError(name, f"is {exporter[:40]!r}", 'Only "otlp" is known')
    for name in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if (protocol := env.get(name)) not in (None, "", PROTOCOL):
            raise ConfigError(name, f"is {protocol[:40]!r}", f"Only {PROTOCOL!r} is known")
    return True


def not_installed(error: ModuleNotFoundError) -> ConfigError:
    """The variables ask for what is not there."""
    problem = f"OpenTelemetry is asked for and {error.name} is missing"
    return ConfigError("", problem, install_command("otel"))


def resource(env: Mapping[str, str]) -> "Resource":
    """What the signals are of: the standard variables, and without a name of theirs our own."""
    from opentelemetry.sdk.resources import Resource

    is_named = env.get("OTEL_SERVICE_NAME") or "service.name=" in env.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return Resource.create({} if is_named else {"service.name": "cellblock"})


def finish(
    span: "Span | None", facts: Mapping[str, Any], *, error: str = "", ended_ns: int | None = None
) -> None:
    """End a span with what is known now; `error` names the kind of failure."""
    if span is None:
        return
    if facts:
        span.set_attributes({name: value for name, value in facts.items() if value is not None})
    if error:
        from opentelemetry.trace import Status, StatusCode

        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
    span.end(ended_ns)


def method_name(method: str) -> str:
    """A method of HTTP as the conventions write it: what is none of them is `_OTHER`."""
    return method if method in METHODS else "_OTHER"


def _sent_context(sent: dict[str, str]) -> "Context":
    """What a client's headers say of its own span."""
    from opentelemetry.context import Context
    from opentelemetry.propagate import extract

    return extract(sent, Context()) if sent else Context()


def _within(span: "Span | None") -> "Context | None":
    if span is None:
        return None
    from opentelemetry.trace import set_span_in_context

    return set_span_in_context(span)
