"""The application: routes, the gate before them, and the life of what they share."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from runner.config import Config
from runner.errors import RequestError, RequestFault, RunnerError, StorageError
from runner.faces.mcp_functions import McpFunctions
from runner.models.directory import Directory
from runner.server.accounts import Accounts
from runner.server.e2b.domain import E2bDomain
from runner.server.e2b.routes import mounted as e2b_routes
from runner.server.e2b.sandboxes import Sandboxes
from runner.server.e2b.snapshots import Snapshots
from runner.server.http import logs
from runner.server.http.meters import from_environment as meters_asked_for
from runner.server.http.metrics import Metrics
from runner.server.http.middleware import RequestMiddleware
from runner.server.http.origins import OriginCheck
from runner.server.http.replies import error_reply, json_reply
from runner.server.http.tracing import from_environment as tracing_asked_for
from runner.server.jupyter import channels
from runner.server.jupyter import routes as jupyter_routes
from runner.server.jupyter.kernels import Kernels
from runner.server.librechat import routes as librechat
from runner.server.librechat.programmatic import Programs
from runner.server.live.audit_log import AuditLog
from runner.server.live.containers import Containers
from runner.server.live.observer import Observer
from runner.server.live.session_slots import SessionSlots
from runner.server.live.session_table import SessionTable
from runner.server.mcp import routes as mcp_routes
from runner.server.mcp.doors import McpDoors
from runner.server.mcp.doors import load as load_mcp
from runner.server.opensandbox import routes as opensandbox
from runner.server.page_access import PageAccess
from runner.server.routes import (
    admin_routes,
    chat_routes,
    command_routes,
    container_routes,
    conversation_routes,
    file_routes,
    page_routes,
    point_routes,
    run_code_routes,
    session_file_routes,
    session_routes,
)
from runner.server.routes.responses import responses_routes, socket_routes
from runner.server.services import DAY_S, Services
from runner.server.session_api import (
    program_routes,
    question_routes,
    sandbox_routes,
    tool_result_routes,
    value_routes,
)
from runner.server.session_api.expectations import Expectations
from runner.server.store.container_store import ContainerStore
from runner.server.store.conversation_store import ConversationStore
from runner.server.store.file_store import FileStore
from runner.server.store.response_store import ResponseStore
from runner.server.store.storage import Storage
from runner.tools.web import WebTools
from sandbox import AsyncSandbox, SandboxError

LOG = logging.getLogger("cellblock.server")
SWEEP_S = 30.0
ENGINE_RETRY_S = 5.0
MODEL_RETRY_S = 30.0
DESCRIPTION = "A code interpreter behind three HTTP dialects, and the engine itself over REST."
HTTP_FAULTS: dict[int, RequestFault] = {404: "not_found", 405: "invalid", 413: "too_large"}


def open_services(
    config: Config,
    *,
    directory: Directory | None = None,
    web_tools: WebTools | None = None,
) -> Services:
    """Services over the data directory of `config`. Raises ConfigError, PolicyError."""
    functions = McpFunctions(config.mcp)
    try:
        return _services(config, functions, directory, web_tools)
    except BaseException:
        functions.close()
        raise


def _services(
    config: Config,
    functions: McpFunctions,
    directory: Directory | None,
    web_tools: WebTools | None,
) -> Services:
    server, policy = config.server, config.sandbox_policy()
    box = AsyncSandbox(
        policy,
        tools=functions.functions,
        pool_size=server.warm_sessions,
        max_sessions=server.max_sessions,
        max_waiting=max(1024, server.max_sessions * 4),
    )
    web_tools = web_tools or WebTools.of(
        config.search, config.pages, policy, shown_chars=server.shown_chars
    )
    # Last of what can fail: it holds a lock.
    storage = Storage(server.data_path)
    files, kept = FileStore(storage), ContainerStore(storage)
    slots = SessionSlots(server.max_sessions)
    containers = Containers(
        box,
        slots,
        files,
        kept,
        idle_minutes=server.idle_minutes,
        file_bytes=server.file_bytes,
        retention_s=server.retention_days * DAY_S,
    )
    table = SessionTable(
        box, slots, idle_s=server.idle_minutes * 60, of_container=containers.live_session
    )
    accounts = Accounts(config.keys)
    try:
        tracing, metrics = tracing_asked_for(), Metrics(meters_asked_for())
        audit = None
        if config.audit.file:
            place = Path(config.audit.file).expanduser()
            audit = AuditLog(place, with_code=config.audit.code)
    except BaseException:
        storage.close()
        raise
    return Services(
        config=config,
        directory=directory or Directory(config.models),
        box=box,
        storage=storage,
        responses=ResponseStore(storage),
        conversations=ConversationStore(storage),
        files=files,
        container_store=kept,
        containers=containers,
        accounts=accounts,
        page=PageAccess(accounts),
        web_tools=web_tools,
        slots=slots,
        sessions=table,
        metrics=metrics,
        observer=Observer(metrics, audit, tracing, content=server.log_content),
        mcp_functions=functions,
    )


def create_app(services: Services) -> FastAPI:
    """Make the application over `services`; its lifespan starts and stops them."""
    app = FastAPI(
        title="Cellblock",
        description=DESCRIPTION,
        lifespan=_life,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.services = services
    app.state.librechat = Programs()
    app.state.opensandbox = opensandbox.Opened()
    app.state.kernels = Kernels(services.sessions, services.box.policy.limits, services.observer)
    app.state.mcp = McpDoors(services.sessions, services.box.policy.limits, services.observer)
    app.state.e2b = Sandboxes(services.sessions)
    app.state.expectations = Expectations(services.box.expect)
    app.state.e2b_snapshots = Snapshots(services.sessions, app.state.e2b)
    origins = OriginCheck(services.config.server)
    app.add_middleware(
        RequestMiddleware,
        metrics=services.metrics,
        origins=origins,
        tracing=services.observer.tracing,
        e2b_domain=E2bDomain(services.config.server.e2b_domain),
    )
    app.include_router(responses_routes.router)
    app.include_router(socket_routes.router)
    app.include_router(chat_routes.router)
    app.include_router(conversation_routes.router)
    app.include_router(container_routes.router)
    app.include_router(file_routes.router)
    app.include_router(session_routes.router)
    app.include_router(session_file_routes.router)
    app.include_router(run_code_routes.router)
    app.include_router(page_routes.router)
    app.include_router(point_routes.router)
    app.include_router(command_routes.router)
    app.include_router(program_routes.router)
    app.include_router(question_routes.router)
    app.include_router(tool_result_routes.router)
    app.include_router(value_routes.router)
    app.include_router(sandbox_routes.router)
    app.include_router(admin_routes.router)
    app.include_router(mcp_routes.router)
    app.include_router(jupyter_routes.router)
    app.include_router(channels.router)
    app.include_router(librechat.router)
    app.include_router(opensandbox.router)
    app.include_router(e2b_routes.router)
    app.get("/openapi.json", include_in_schema=False)(openapi)
    app.get("/healthz")(healthz)
    app.get("/readyz", responses={503: {"description": "Not ready."}})(readyz)
    app.get("/metrics", response_class=PlainTextResponse)(metrics)
    app.add_exception_handler(RunnerError, _on_error)
    app.add_exception_handler(SandboxError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    return app


def openapi(request: Request) -> Response:
    """Describe all routes; made once, in a thread, for it takes a second."""
    app = request.app
    assert isinstance(app, FastAPI)
    return JSONResponse(app.openapi())


async def healthz() -> Response:
    """Say whether the process serves at all."""
    return json_reply({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Say whether the engine and the model of this machine run, and new work is taken."""
    services: Services = request.app.state.services
    reasons = list(services.observer.problems.values())
    is_served = services.is_ready and "model" not in services.observer.problems
    if is_served and not services.streams.is_stopping:
        # What is wrong and does not keep it from answering is said all the same.
        return json_reply({"status": "ready", "reasons": reasons})
    if services.streams.is_stopping:
        return json_reply({"status": "stopping", "reasons": ["The server is stopping."]}, 503)
    reasons = reasons or ["The first session is being started."]
    return json_reply({"status": "starting", "reasons": reasons}, 503)


async def metrics(request: Request) -> Response:
    """Counters for a Prometheus scrape."""
    services: Services = request.app.state.services
    counted, slots = services.metrics, services.slots
    for kind, held in slots.held.items():
        counted.sessions.labels(kind).set(held)
    counted.sessions_most.set(slots.most)
    counted.sessions_waiting.set(slots.waiting)
    counted.ready.set(services.is_ready and not services.streams.is_stopping)
    return Response(services.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncGenerator[None, None]:
    services: Services = app.state.services
    await services.responses.recover()
    # Beside the start of the engine, which is another process.
    loading = asyncio.create_task(run_in_threadpool(_prepare, services))
    works = (_warm(services, loading), _warm_models(services), _sweep(services))
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await app.state.mcp.close()
        await app.state.kernels.close()
        await app.state.librechat.close()
        await app.state.e2b.close()
        app.state.expectations.close()
        await services.close()


def _prepare(services: Services) -> None:
    """Make what a first request would wait for, and every other request with it."""
    load_mcp()
    services.web_tools.prepare()


async def _warm(services: Services, loading: asyncio.Task[None]) -> None:
    """Start the engine; try again while it cannot, so that a mended machine needs no restart."""
    while True:
        try:
            async with services.box.session() as session:
                await loading
                services.is_ready = True
                services.observer.problems.pop("engine", None)
                logs.write("ready", tier=services.box.policy.tier, layers=session.enforcement)
            await asyncio.to_thread(services.directory.load)
            return
        except SandboxError as error:
            services.observer.problems["engine"] = (
                f"The engine does not start ({type(error).__name__}): the log and"
                " `cellblock doctor` say why. It is tried again."
            )
            LOG.error("the engine does not start: %s", error)
            await asyncio.sleep(ENGINE_RETRY_S)


async def _warm_models(services: Services) -> None:
    """Start a model that runs here, so that the first question need not wait for it."""
    while True:
        try:
            await services.directory.warm()
            services.observer.problems.pop("model", None)
            return
        except RunnerError as error:
            # Each request for it tries again, too, and tells its client.
            services.observer.problems["model"] = (
                f"A model does not start ({type(error).__name__}): see the log. It is tried again."
            )
            LOG.error("a model does not start: %s", error)
            await asyncio.sleep(MODEL_RETRY_S)


async def _sweep(services: Services) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        try:
            await services.sweep()
            services.observer.problems.pop("storage", None)
        except StorageError as error:
            services.observer.problems["storage"] = "What is kept cannot be written: see the log."
            LOG.warning("nothing was swept: %s", error)


async def _on_error(request: Request, error: Exception) -> Response:
    return error_reply(request, error)


async def _on_invalid(request: Request, error: Exception) -> Response:
    """Answer to a path or query parameter that is no such thing."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = str(first["loc"][-1])
    return error_reply(request, RequestError("invalid", f"{place}: {first['msg']}.", param=place))


async def _on_http(request: Request, error: Exception) -> Response:
    """Answer to an unknown path or method."""
    assert isinstance(error, HTTPException)
    fault = HTTP_FAULTS.get(error.status_code, "invalid")
    where = f"{request.method} {request.url.path[:200]}"
    reply = error_reply(request, RequestError(fault, f"{where}: {error.detail}."))
    reply.status_code = error.status_code
    for name, value in (error.headers or {}).items():
        reply.headers[name] = value
    return reply
