"""Metrics: what a scrape of `/metrics` finds."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from runner.server.http.meters import Meters
from runner.transcript import Usage
from sandbox import Usage as Spent

MiB = 1024 * 1024
BYTES = tuple(2**power * MiB for power in range(4, 14))
LAYERS = frozenset(
    {
        "import_policy",
        "audit",
        "seccomp",
        "landlock",
        "cgroup",
        "rlimits",
        "network",
        "net_namespace",
        "mount_namespace",
        "protocol",
    }
)
"""Of refusals: any other is counted as "other"."""
SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
RUN_AMOUNTS = (
    ("cellblock_run_seconds", "From the hand-over of the code to its end.", SECONDS),
    ("cellblock_run_cpu_seconds", "CPU time of a run, its child processes included.", SECONDS),
    ("cellblock_run_start_seconds", "From the call to the hand-over of the code.", SECONDS),
    ("cellblock_run_peak_memory_bytes", "The most memory that a run had at once.", BYTES),
)


class Metrics:
    """Counters of one server, in a registry of their own; `meters` records the same times."""

    def __init__(self, meters: Meters | None = None) -> None:
        self.meters = meters or Meters()
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
        self._run_amounts = tuple(
            Histogram(name, words, ("via",), buckets=buckets, registry=self._registry)
            for name, words, buckets in RUN_AMOUNTS
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

    def requested(self, method: str, route: str, status: int, took_s: float) -> None:
        """Count a request that was answered, or left."""
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(took_s)
        self.meters.request(method, route, status, took_s)

    def turned(self, model: str, took_s: float, *, read: int, written: int) -> None:
        """Count one turn of a model and its tokens."""
        self.round_seconds.labels(model).observe(took_s)
        self.meters.turn(model, took_s, read=read, written=written)

    def called(self, tool: str, status: str, took_s: float) -> None:
        """Count a tool call."""
        self.calls.labels(tool, status).inc()
        self.call_seconds.labels(tool).observe(took_s)
        self.meters.call(tool, status, took_s)

    def ran(self, via: str, status: str, usage: Spent | None, refused_by: Iterable[str]) -> None:
        """Count a run that has ended."""
        self.runs.labels(via, status).inc()
        for layer in refused_by:
            self.refusals.labels(layer if layer in LAYERS else "other").inc()
        if usage is None:
            return
        cpu_s = usage.cpu_user_s + usage.cpu_system_s
        spent = (usage.wall_s, cpu_s, usage.start_s, usage.peak_memory_bytes)
        for histogram, amount in zip(self._run_amounts, spent, strict=True):
            histogram.labels(via).observe(amount)
        self.meters.ran(via, status, usage)

    def spent(self, usage: Usage) -> None:
        """Add a finished request's tokens."""
        self.tokens.labels("input").inc(usage.input_tokens)
        self.tokens.labels("output").inc(usage.output_tokens)

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self._registry)
