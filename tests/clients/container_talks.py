"""Talks about files in containers, and the keys and limits of the server that holds them."""

from openai import OpenAI
from scripted import CALLED, STOPPED, call, say, spent, think
from serving import KEY, MODEL
from talking import on_loop

from runner.config import KeySettings, ServerSettings

OTHER, SMALL = "sk-other-key", "sk-small-key"
BASES = ("/v1", "/compatible-mode/v1", "/api/v2/apps/protocols/compatible-mode/v1")
DOUBLE, COUNT, MANY, REMOVE = "Double it.", "Count.", "Many.", "Remove."
BIG, EAT, SLOW = "Big.", "Eat.", "Wait."


def one_call(code, *words):
    return [
        [*think("Run it."), *call(code), spent(10, 5, 1), CALLED],
        [*say(*words), spent(12, 6, 0), STOPPED],
    ]


TALKS = {
    DOUBLE: one_call(
        "numbers = [int(line) * 2 for line in open('data.csv')]\n"
        "open('doubled.csv', 'w').writelines(f'{n}\\n' for n in numbers)\n"
        "numbers",
        "Here: [doubled.csv](sandbox:/mnt/data/doubled.csv), é.",
    ),
    COUNT: one_call("len(numbers)", "So many."),
    MANY: one_call(
        "import os\nos.mkdir('out')\n"
        "for n in range(5): open(f'out/{n}.txt', 'w').write(str(n))", "Five.",
    ),
    REMOVE: one_call("import os\nos.remove('data.csv')\nos.listdir()", "Gone."),
    BIG: one_call("open('big.bin', 'wb').write(bytes(3_000_000))", "Written."),
    SLOW: one_call("import time\ntime.sleep(600)", "Done."),
    EAT: one_call("len(bytearray(300 * 2**20))", "Eaten."),
}  # fmt: skip
LIMITS = {"memory_bytes": 512 * 2**20, "workspace_bytes": 8 * 2**20}
KEYS = (
    KeySettings(key=KEY, tenant="one", requests_per_minute=100_000),
    KeySettings(key=OTHER, tenant="two"),
    KeySettings(key=SMALL, tenant="three", stored_bytes=1000),
)
SERVER = ServerSettings(heartbeat_s=0.2, grace_s=1, file_bytes=2_000_000)


def client(server, key=KEY, base="/v1"):
    return OpenAI(base_url=server.origin + base, api_key=key, max_retries=0)


def ask(asking, question, container, **more):
    tools = [{"type": "code_interpreter", "container": container}]
    return asking.responses.create(model=MODEL, input=question, tools=tools, **more)


def call_of(response):
    (found,) = [item for item in response.output if item.type == "code_interpreter_call"]
    return found


def told(server, question):
    """What the model was shown of the last call that answers `question`."""
    asked = server.services.directory.find(MODEL).model.scripts[question].requests[-1]
    (result,) = asked.entries[-1].results
    return result.shown


def age(server, container_id, seconds):
    """Let the container have been idle for so much longer, and sweep."""
    services = server.services

    async def work():
        live = services.containers._lives.get(container_id)
        if live is not None:
            earlier = live.row.last_active_at - seconds
            live.row = live.row.model_copy(update={"last_active_at": earlier})
        sql = "UPDATE containers SET last_active_at = last_active_at - ? WHERE id = ?"
        await services.storage.run(lambda kept: kept.change(sql, seconds, container_id))
        await services.sweep()

    on_loop(server, work())


def unfinish(server, response_id):
    """Let the response be stored as one that is still being made."""
    sql = (
        "UPDATE responses SET status = 'in_progress',"
        " body = json_set(body, '$.status', 'in_progress') WHERE id = ?"
    )
    on_loop(server, server.services.storage.run(lambda kept: kept.change(sql, response_id)))
