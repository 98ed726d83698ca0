"""Routes of Chat Completions, of DashScope's text generation, and the list of models."""

import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing

from fastapi import APIRouter, Request
from pydantic import JsonValue
from starlette.responses import Response

from runner.dialects import chat, dashscope
from runner.dialects.faults import Fault, fault_of
from runner.dialects.parsed_request import ParsedRequest
from runner.errors import RequestError, RunnerError
from runner.events import Ended, LoopEvent, RoundBegan
from runner.server.accounts import Account
from runner.server.http.bodies import read_json
from runner.server.http.openapi_bodies import answers_of, errors_of
from runner.server.http.openapi_requests import CHAT, GENERATION, STUDIO_CHAT
from runner.server.http.replies import error_reply, json_reply, note, request_id_of
from runner.server.http.streaming import Answer, EventStream, StatusLine
from runner.server.routes.access import TheAccount, TheServices
from runner.server.routes.paths import BASES
from runner.server.services import Job, Services
from sandbox import SandboxError

CHAT_PATH, STUDIO_PATH = "/v1/chat/completions", "/compatible-mode/v1/chat/completions"
"""On the second the interpreter is bound to Model Studio's own rules."""
DASHSCOPE_PATHS = (
    "/api/v1/services/aigc/text-generation/generation",
    "/api/v1/services/aigc/multimodal-generation/generation",
)
DASHSCOPE_TYPE = "text/event-stream;charset=UTF-8"
Feed = Callable[[LoopEvent], Iterator[bytes]]
router = APIRouter()


async def chat_completions(
    request: Request, services: TheServices, account: TheAccount
) -> Response:
    """Chat Completions, streamed or not. Snippets run out of the client's sight."""
    body = await read_json(request, services.config.server.body_bytes)
    if request.url.path == STUDIO_PATH:
        parsed, options = chat.parse(body)
    else:
        always = account.settings.interpreter == "always" or _always(services, body)
        parsed, options = chat.parse(body, rules="openai", always_code=always)
    job = await _job(services, parsed, account)
    completion_id, created = f"chatcmpl-{uuid.uuid4()}", int(time.time())
    if not parsed.stream:

        def whole(ended: Ended) -> Mapping[str, object]:
            return chat.completion(
                ended, completion_id=completion_id, created=created, model=parsed.model
            )

        return _whole(request, services, job, whole)
    writer = chat.ChatWriter(
        parsed, options, completion_id=completion_id, created=created, model=parsed.model
    )
    status_line = StatusLine()
    return EventStream(
        frames(request, job, status_line, writer.begin, writer.feed, writer.fail),
        status_line,
        services.streams,
        heartbeat_s=services.config.server.heartbeat_s,
        headers=account.headers(),
        on_abort=lambda fault: b"".join(writer.fail(fault)),
        on_close=job.close,
    )


async def generation(request: Request, services: TheServices, account: TheAccount) -> Response:
    """DashScope's native text generation, streamed when the headers ask for it."""
    stream = (
        request.headers.get("x-dashscope-sse", "").lower() == "enable"
        or "text/event-stream" in request.headers.get("accept", "").lower()
    )
    body = await read_json(request, services.config.server.body_bytes)
    parsed, options = dashscope.parse(body, stream=stream)
    job = await _job(services, parsed, account)
    request_id = request_id_of(request)
    if not stream:

        def whole(ended: Ended) -> Mapping[str, object]:
            return dashscope.generation(ended, parsed, options, request_id=request_id)

        return _whole(request, services, job, whole)
    writer = dashscope.DashScopeWriter(parsed, options, request_id=request_id)

    def feed(event: LoopEvent) -> Iterator[bytes]:
        return writer.feed(event, job.loop.usage)

    status_line = StatusLine()
    return EventStream(
        frames(request, job, status_line, writer.begin, feed, writer.fail),
        status_line,
        services.streams,
        heartbeat_s=services.config.server.heartbeat_s,
        media_type=DASHSCOPE_TYPE,
        headers={**account.headers(), "x-dashscope-call-gateway": "true"},
        on_abort=lambda fault: b"".join(writer.fail(fault)),
        on_close=job.close,
    )


async def list_models(services: TheServices, _account: TheAccount) -> Response:
    """The configured model names."""
    data = [_model(name) for name in services.directory.names]
    return json_reply({"object": "list", "data": data})


async def get_model(model: str, services: TheServices, _account: TheAccount) -> Response:
    """One model by name."""
    if not services.directory.knows(model):
        services.directory.find(model)  # Raises, in the words for it.
    return json_reply(_model(model))


for _path, _body in ((CHAT_PATH, CHAT), (STUDIO_PATH, STUDIO_CHAT)):
    router.post(_path, openapi_extra=_body, responses=answers_of("openai"))(chat_completions)
for _path in DASHSCOPE_PATHS:
    router.post(_path, openapi_extra=GENERATION, responses=answers_of("dashscope"))(generation)
for _base in BASES:
    router.get(f"{_base}/models", responses=errors_of("openai"))(list_models)
    router.get(f"{_base}/models/{{model:path}}", responses=errors_of("openai"))(get_model)


def _always(services: Services, body: JsonValue) -> bool:
    """Whether the model that `body` names has the interpreter unasked."""
    name = body.get("model") if isinstance(body, dict) else None
    return isinstance(name, str) and services.directory.interpreter(name) == "always"


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "cellblock"}


async def _job(services: Services, parsed: ParsedRequest, account: Account) -> Job:
    """The loop of a request. Its container ends with it, unless it may end with functions of the
    client: the request that brings their results goes on in the same one."""
    services.directory.find(parsed.model)
    if not parsed.has_interpreter:
        return services.job(parsed, account, lease=None)
    entries, container_id = services.open_calls.restored(account.owner, parsed.entries)
    lease = await services.containers.lease(
        account,
        parsed.container,
        earlier=container_id,
        inline_files=parsed.container.inline_files,
        keep=bool(parsed.client_tools),
    )
    return services.job(parsed, account, entries=entries, lease=lease)


async def frames(
    request: Request,
    job: Job,
    status_line: StatusLine,
    begin: Callable[[], Iterator[bytes]],
    feed: Feed,
    fail: Callable[[Fault], Iterator[bytes]],
) -> AsyncGenerator[bytes, None]:
    """The stream of one request. An error before anything was sent is raised."""
    has_begun = False
    try:
        async with aclosing(job.events()) as events:
            async for event in events:
                if not has_begun:
                    if isinstance(event, RoundBegan):
                        continue
                    has_begun = True
                    for frame in begin():
                        yield frame
                for frame in feed(event):
                    yield frame
        return
    except Exception as error:
        if not has_begun and not status_line.is_sent:
            raise
        fault = fault_of(error)
        note(request, error, fault)
    for frame in fail(fault):
        yield frame


def _whole(
    request: Request,
    services: Services,
    job: Job,
    build: Callable[[Ended], Mapping[str, object]],
) -> Response:
    async def make() -> Response:
        try:
            ended = await job.finish()
        except (RunnerError, SandboxError) as error:
            return error_reply(request, error, ran_code=job.has_run_code)
        if ended.ending == "deadline":
            return error_reply(request, RequestError("deadline", "The time is over."))
        return json_reply(build(ended), headers=job.account.headers())

    return Answer(make, services.streams, on_close=job.close)
