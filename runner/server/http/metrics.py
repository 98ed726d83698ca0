"""Metrics: what a scrape of `/metrics` finds."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from runner.transcript import Usage

SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "cellblock_requests",
            "Requests by route and status.",
            ("route", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "cellblock_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.open = Gauge(
            "cellblock_requests_open", "Requests being answered.", registry=self._registry
        )
        self.tokens = Counter(
            "cellblock_tokens",
            "Tokens by direction, over all rounds.",
            ("direction",),
            registry=self._registry,
        )
        self.calls = Counter(
            "cellblock_tool_calls", "Tool calls.", ("tool", "status"), registry=self._registry
        )
        self.call_seconds = Histogram(
            "cellblock_tool_call_seconds",
            "From the start of a tool call to its result.",
            ("tool",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.endings = Counter(
            "cellblock_endings", "How tool loops ended.", ("ending",), registry=self._registry
        )

    def spent(self, usage: Usage) -> None:
        """Add a finished request's tokens."""
        self.tokens.labels("input").inc(usage.input_tokens)
        self.tokens.labels("output").inc(usage.output_tokens)

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self._registry)
