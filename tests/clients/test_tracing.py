"""Traces and times for OpenTelemetry, by the SDK's own exporters in memory."""

import gzip
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from scripted import CALLED, STOPPED, call, say, spent
from serving import KEY, MODEL, TalkModel, config, directory, serving

from runner.config import KeySettings
from runner.errors import ConfigError
from runner.server.http import meters
from runner.server.http.metrics import Metrics
from runner.server.http.tracing import Tracing, from_environment
from runner.server.live.observer import Observer
from runner.server.live.run_spans import EndedRun, add_spans
from sandbox import AsyncSandbox, HostCall, Usage

SECRET = "the words of the question"
TALKS = {
    SECRET: [
        [*call("import ctypes\n'the code'"), spent(10, 5, 0), CALLED],
        [*say("Done."), spent(12, 6, 0), STOPPED],
    ]
}
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
TOOL = "execute_tool code_interpreter"
WHOLE = [f"chat {MODEL}", f"chat {MODEL}", "cellblock.run", TOOL]
ADDRESS = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@contextmanager
def traced(server):
    """The spans that `server` makes within the block."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    server.services.observer.tracing.tracer = provider.get_tracer("test")
    yield exporter
    server.services.observer.tracing.tracer = None


@contextmanager
def client_of(server):
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx2.Client(base_url=server.origin, headers=headers, timeout=60) as one:
        yield one


@pytest.fixture(scope="module")
def server():
    settings = config(keys=(KeySettings(key=KEY, tenant="one"),), policy={"imports": "data"})
    with serving(directory(TalkModel(TALKS)), settings) as running:
        yield running


@pytest.fixture
def http(server):
    with client_of(server) as one:
        yield one


@pytest.fixture
def spans(server):
    with traced(server) as exporter:
        yield exporter


@pytest.fixture
def session(http):
    session_id = http.post("/v1/sessions").json()["id"]
    yield session_id
    http.delete(f"/v1/sessions/{session_id}")


def body(**more):
    tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
    return {"model": MODEL, "input": SECRET, "tools": tools, **more}


def ended(server, spans, request):
    """All spans, once the one of `request` is among them."""
    server.wait_until(lambda: any(one.name == request for one in spans.get_finished_spans()))
    return spans.get_finished_spans()


def named(found, name):
    return next(one for one in found if one.name == name)


def is_below(one, other):
    return one.parent.span_id == other.context.span_id


# ---- one trace ----------------------------------------------------------------------------------


def test_one_trace_goes_from_the_request_to_the_code(server, http, spans):
    assert http.post("/v1/responses", json=body(), headers=PARENT).status_code == 200
    found = ended(server, spans, "POST /v1/responses")
    assert {f"{one.context.trace_id:032x}" for one in found} == {TRACE}
    assert sorted(one.name for one in found) == sorted([*WHOLE, "POST /v1/responses"])
    request, tool, run = (named(found, name) for name in ("POST /v1/responses", TOOL, WHOLE[2]))
    assert is_below(tool, request)
    assert is_below(run, tool)
    assert f"{request.parent.span_id:x}" == "b7ad6b7169203331"
    first = named(found, f"chat {MODEL}")
    assert first.attributes["gen_ai.operation.name"] == "chat"
    assert first.attributes["gen_ai.usage.input_tokens"] == 10
    assert tool.attributes["gen_ai.tool.name"] == "code_interpreter"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["http.route"] == "/v1/responses"
    everything = " ".join(one.to_json() for one in found)
    for secret in (KEY, SECRET, "the code", "ctypes"):
        assert secret not in everything


def test_what_was_refused_is_an_event_of_the_run(server, http, spans):
    http.post("/v1/responses", json=body())
    run = named(ended(server, spans, "POST /v1/responses"), "cellblock.run")
    refusal = run.events[0]
    assert refusal.name == "cellblock.refusal"
    assert dict(refusal.attributes) == {"cellblock.layer": "import_policy", "cellblock.count": 1}
    assert run.attributes["cellblock.via"] == "interpreter"
    assert run.attributes["cellblock.refusals"] == 1


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/responses", body(stream=True)),
        (
            "/v1/chat/completions",
            {
                "model": MODEL,
                "messages": [{"role": "user", "content": SECRET}],
                "stream": True,
                "enable_code_interpreter": True,
                "enable_thinking": True,
            },
        ),
    ],
)
def test_a_streamed_answer_is_one_trace_to_its_last_event(server, http, spans, path, asked):
    with http.stream("POST", path, json=asked, headers=PARENT) as reply:
        assert "Done." in "".join(reply.iter_text())
    found = ended(server, spans, f"POST {path}")
    assert {f"{one.context.trace_id:032x}" for one in found} == {TRACE}
    assert sorted(one.name for one in found) == sorted([*WHOLE, f"POST {path}"])
    request = named(found, f"POST {path}")
    assert all(one.end_time <= request.end_time for one in found)


def test_a_response_in_the_background_stays_in_the_trace_of_its_request(server, http, spans):
    made = http.post("/v1/responses", json=body(background=True, store=True), headers=PARENT)
    path = f"/v1/responses/{made.json()['id']}"
    server.wait_until(lambda: http.get(path).json()["status"] == "completed")
    found = [one for one in spans.get_finished_spans() if f"{one.context.trace_id:032x}" == TRACE]
    assert sorted(one.name for one in found) == sorted([*WHOLE, "POST /v1/responses"])
    assert is_below(named(found, TOOL), named(found, "POST /v1/responses"))


def test_a_stream_that_the_client_leaves_ends_its_spans(server, http, spans):
    with http.stream("POST", "/v1/responses", json=body(stream=True)) as reply:
        next(reply.iter_text())
    found = ended(server, spans, "POST /v1/responses")
    assert named(found, f"chat {MODEL}").end_time is not None


# ---- code by other doors ------------------------------------------------------------------------


def test_a_snippet_over_rest_is_traced_with_the_time_that_it_took(server, http, spans, session):
    code = "import time\ntime.sleep(0.2)\n1 / 0"
    for more in ({}, {"stream": True}):
        http.post(f"/v1/sessions/{session}/run", json={"code": code, **more})
    found = ended(server, spans, "POST /v1/sessions/{session_id}/run")
    runs = [one for one in found if one.name == "cellblock.run"]
    assert len(runs) == 2
    for run in runs:
        assert run.attributes["error.type"] == "raised"
        took_s = (run.end_time - run.start_time) / 1e9
        assert took_s == pytest.approx(run.attributes["cellblock.wall_s"], abs=0.001)
        assert took_s >= 0.2


def test_a_command_and_a_program_are_traced(server, http, spans, session):
    http.post(f"/v1/sessions/{session}/exec", json={"command": "exit 3"})
    http.post("/run_code", json={"code": "import ctypes", "language": "python"})
    found = ended(server, spans, "POST /run_code")
    command, program = (one for one in found if one.name == "cellblock.run")
    assert command.attributes["cellblock.via"] == "command"
    assert command.attributes["error.type"] == "raised"
    assert is_below(command, named(found, "POST /v1/sessions/{session_id}/exec"))
    assert program.attributes["cellblock.via"] == "program"
    assert program.events[0].attributes["cellblock.layer"] == "import_policy"
    assert is_below(program, named(found, "POST /run_code"))


def test_a_program_that_the_engine_does_not_know_has_failed(server, http, spans):
    http.post("/run_code", json={"code": "x", "language": "cobol"})
    run = named(ended(server, spans, "POST /run_code"), "cellblock.run")
    assert run.attributes["error.type"] == "failed"


async def outcome_with_calls():
    def price(article):
        if article == "none":
            raise LookupError("no such article")
        return 3

    code = "price(article='tea')\ntry:\n    price('none')\nexcept Exception:\n    pass"
    async with AsyncSandbox() as box:
        return await box.run(code, tools={"price": price})


def test_a_run_lasts_as_long_as_its_calls_though_its_clock_stood_still():
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    calls = [HostCall(name="price", began_s=0.1 * at, wall_s=0.3) for at in (3, 1)]
    run = EndedRun("completed", Usage(wall_s=0.2), calls=calls)
    add_spans(Tracing(provider.get_tracer("test")), "session", run, content=False)
    first, second, whole = exporter.get_finished_spans()
    assert first.end_time == whole.end_time
    assert whole.start_time <= second.start_time
    assert whole.end_time - whole.start_time == 600_000_000


@pytest.mark.parametrize("content", [False, True])
async def test_functions_of_the_host_are_spans_below_the_run(content):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    observer = Observer(Metrics(), tracing=Tracing(provider.get_tracer("test")), content=content)
    observer.ran(await outcome_with_calls(), owner="one", via="session", where="s", code="")
    right, wrong, run = exporter.get_finished_spans()
    assert (right.name, run.name) == ("execute_tool price", "cellblock.run")
    assert is_below(right, run)
    assert run.attributes["cellblock.host_calls"] == 2
    assert right.attributes["gen_ai.operation.name"] == "execute_tool"
    assert "error.type" not in right.attributes
    assert wrong.attributes["error.type"] == "LookupError"
    assert run.start_time <= right.start_time <= right.end_time <= wrong.start_time
    assert wrong.end_time <= run.end_time
    assert ("tea" in right.to_json()) is content


def test_content_stands_in_spans_where_the_owner_wants_it():
    settings = config(policy={"imports": "data"})
    settings = settings.model_copy(
        update={"server": settings.server.model_copy(update={"log_content": True})}
    )
    with (
        serving(directory(TalkModel(TALKS)), settings) as server,
        client_of(server) as http,
        traced(server) as spans,
    ):
        http.post("/v1/responses", json=body())
        found = ended(server, spans, "POST /v1/responses")
        assert "the code" in named(found, TOOL).attributes["gen_ai.tool.call.arguments"]
        refusal = named(found, "cellblock.run").events[0]
        assert "ctypes" in refusal.attributes["cellblock.tried"]


async def test_calls_over_mcp_are_in_the_trace_of_their_own_request(server, spans):
    mcp = pytest.importorskip("mcp")
    from mcp.client.streamable_http import streamable_http_client

    headers = {"authorization": f"Bearer {KEY}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        streamable_http_client(f"{server.origin}/mcp", http_client=http) as (read, write),
        mcp.ClientSession(read, write) as client,
    ):
        await client.initialize()
        for number in (1, 2):
            await client.call_tool("run_python", {"code": str(number)})

    def parents(name):
        """The requests of that name which have ended, and are above a run."""
        found = spans.get_finished_spans()
        requests = {one.context.span_id for one in found if one.name == name}
        return requests & {one.parent.span_id for one in found if one.name == "cellblock.run"}

    server.wait_until(lambda: len(parents("POST /mcp")) == 2)


async def test_a_socket_has_a_span_and_each_message_on_it_one_below(server, spans):
    websockets = pytest.importorskip("websockets.asyncio.client")
    url = server.origin.replace("http", "ws") + "/v1/responses"
    headers = {"authorization": f"Bearer {KEY}", **PARENT}
    async with websockets.connect(url, additional_headers=headers) as socket:
        for _ in range(2):
            asked = {"type": "response.create", "model": MODEL, "input": SECRET,
                     "tools": [{"type": "code_interpreter"}]}  # fmt: skip
            await socket.send(json.dumps(asked))
            while json.loads(await socket.recv())["type"] != "response.completed":
                pass

    def named(name):
        return [one for one in spans.get_finished_spans() if one.name == name]

    server.wait_until(lambda: named("GET /v1/responses"))
    (connection,) = named("GET /v1/responses")
    assert connection.attributes["http.response.status_code"] == 101
    assert f"{connection.parent.span_id:016x}" in PARENT["traceparent"]
    messages = named("response.create")
    assert [one.parent.span_id for one in messages] == [connection.context.span_id] * 2
    above = {one.parent.span_id for one in named(TOOL)}
    assert above == {one.context.span_id for one in messages}


# ---- times --------------------------------------------------------------------------------------


@pytest.fixture
def reader(server):
    found = InMemoryMetricReader()
    metrics = server.services.metrics
    metrics.meters = meters.Meters(MeterProvider([found]).get_meter("test"))
    yield found
    metrics.meters = meters.Meters()


def points(reader):
    """The points of each histogram by its name."""
    data = json.loads(reader.get_metrics_data().to_json())
    return {
        one["name"]: one["data"]["data_points"]
        for one in data["resource_metrics"][0]["scope_metrics"][0]["metrics"]
    }


def test_requests_turns_calls_and_runs_are_recorded_in_histograms(server, http, reader):
    assert http.post("/v1/responses", json=body()).status_code == 200
    server.wait_until(lambda: "http.server.request.duration" in points(reader))
    found = points(reader)
    assert set(found) == {name for name, *_ in meters.HISTOGRAMS}
    bounds = {name: list(bounds) for name, _, bounds, _ in meters.HISTOGRAMS}
    for name, data in found.items():
        assert all(one["explicit_bounds"] == bounds[name] for one in data), name
    (request,) = found["http.server.request.duration"]
    assert request["attributes"]["http.route"] == "/v1/responses"
    turns = {
        one["attributes"]["gen_ai.operation.name"]: one["count"]
        for one in found["gen_ai.client.operation.duration"]
    }
    assert turns == {"chat": 2, "execute_tool": 1}
    tokens = {
        one["attributes"]["gen_ai.token.type"]: one["sum"]
        for one in found["gen_ai.client.token.usage"]
    }
    assert tokens == {"input": 22, "output": 11}
    (run,) = found["cellblock.run.duration"]
    assert run["attributes"] == {"cellblock.via": "interpreter", "cellblock.status": "raised"}


# ---- variables ----------------------------------------------------------------------------------


@pytest.mark.parametrize("signal", ["TRACES", "METRICS"])
def test_both_are_off_unless_a_standard_variable_asks_for_them(signal):
    def is_on(environ):
        if signal == "TRACES":
            made = from_environment(environ)
            on = made.tracer is not None
        else:
            made = meters.from_environment(environ)
            on = bool(made._made)
        made.close()
        return on

    off = (
        {},
        {f"OTEL_{signal}_EXPORTER": "none", **ADDRESS},
        {"OTEL_SDK_DISABLED": "true", **ADDRESS},
    )
    assert [is_on(environ) for environ in off] == [False, False, False]
    assert is_on({f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT": "http://127.0.0.1:9"})
    with pytest.raises(ConfigError, match='Only "otlp"'):
        from_environment({"OTEL_TRACES_EXPORTER": "zipkin"})
    with pytest.raises(ConfigError, match="http/protobuf"):
        is_on({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", **ADDRESS})


def test_a_name_that_the_variables_give_is_the_services():
    def name(**environ):
        from runner.server.http.tracing import resource

        return resource(environ).attributes["service.name"]

    assert name() == "cellblock"


def test_without_a_tracer_nothing_is_made():
    off = Tracing()
    assert off.request("GET", []) is None
    assert off.child("chat m", {}) is None


class Sink(ThreadingHTTPServer):
    """A collector that keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: dict[str, bytes] = {}
        super().__init__(("127.0.0.1", 0), Receiver)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        size = int(self.headers["content-length"])
        self.server.sent[self.path] = gunzipped(self.rfile.read(size))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Be silent."""


def gunzipped(data):
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def test_both_are_sent_to_the_address_that_the_standard_variables_name(monkeypatch):
    with Sink() as sink:
        threading.Thread(target=sink.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{sink.server_address[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment=here")
        spans, times = from_environment(), meters.from_environment()
        spans.child("a span", {}).end()
        times.request("GET", "/a/route", 200, 0.1)
        spans.close()
        times.close()
        sink.shutdown()
    assert set(sink.sent) == {"/v1/traces", "/v1/metrics"}
    for path, word in (("/v1/traces", b"a span"), ("/v1/metrics", b"/a/route")):
        for told in (word, b"cellblock", b"deployment"):
            assert told in sink.sent[path]
