"""Metrics: what a scrape of `/metrics` finds."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from runner.transcript import Usage
from sandbox import Usage as Spent

MiB = 1024 * 1024
BYTES = tuple(2**power * MiB for power in range(4, 14))
LAYERS = frozenset(
    {"import_policy", "audit", "seccomp", "landlock", "cgroup", "rlimits", "network", "protocol"}
)
"""Of refusals: any other is counted as "other"."""
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

        self.runs = Counter(
            "cellblock_runs",
            "Snippets, programs and commands that ended, by the door that they came through.",
            ("via", "status"),
            registry=self._registry,
        )
        self.run_seconds = self._histogram(
            "cellblock_run_seconds", "From the hand-over of the code to its end.", SECONDS
        )
        self.run_cpu_seconds = self._histogram(
            "cellblock_run_cpu_seconds", "CPU time of a run, its child processes included.", SECONDS
        )
        self.run_start_seconds = self._histogram(
            "cellblock_run_start_seconds", "From the call to the hand-over of the code.", SECONDS
        )
        self.run_memory_bytes = self._histogram(
            "cellblock_run_peak_memory_bytes", "The most memory that a run had at once.", BYTES
        )
        self.refusals = Counter(
            "cellblock_refusals",
            "What a layer refused while code went on, or that ended it.",
            ("layer",),
            registry=self._registry,
        )
        self.audit_failures = Counter(
            "cellblock_audit_failures",
            "Lines that could not be written to the audit log.",
            registry=self._registry,
        )
        self.sessions = Gauge(
            "cellblock_sessions",
            "Sessions of the engine that are held, by what holds them.",
            ("kind",),
            registry=self._registry,
        )
        self.sessions_most = Gauge(
            "cellblock_sessions_most", "Sessions that may be held.", registry=self._registry
        )
        self.sessions_waiting = Gauge(
            "cellblock_sessions_waiting",
            "Requests that wait for a session.",
            registry=self._registry,
        )
        self.ready = Gauge(
            "cellblock_ready", "1 while new work is taken, else 0.", registry=self._registry
        )
        self.round_seconds = Histogram(
            "cellblock_model_round_seconds",
            "One turn of the model, from the question to its last token.",
            ("model",),
            buckets=SECONDS,
            registry=self._registry,
        )

    def _histogram(self, name: str, words: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, words, ("via",), buckets=buckets, registry=self._registry)

    def ran(self, via: str, status: str, usage: Spent | None, refused_by: list[str]) -> None:
        """Count a run that has ended."""
        self.runs.labels(via, status).inc()
        for layer in refused_by:
            self.refusals.labels(layer if layer in LAYERS else "other").inc()
        if usage is None:
            return
        self.run_seconds.labels(via).observe(usage.wall_s)
        self.run_cpu_seconds.labels(via).observe(usage.cpu_user_s + usage.cpu_system_s)
        self.run_start_seconds.labels(via).observe(usage.start_s)
        self.run_memory_bytes.labels(via).observe(usage.peak_memory_bytes)

    def spent(self, usage: Usage) -> None:
        """Add a finished request's tokens."""
        self.tokens.labels("input").inc(usage.input_tokens)
        self.tokens.labels("output").inc(usage.output_tokens)

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self._registry)
