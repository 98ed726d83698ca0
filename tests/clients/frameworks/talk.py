"""Talks to a server with one framework, by its documented way: `talk.py NAME HOW ORIGIN KEY MODEL`.

Runs in an environment of its own. Prints one JSON object: the answer, and the places that the
function of this program was asked for.
"""

import asyncio
import json
import os
import sys

QUESTION = "How warm is Paris, and what is 123**21?"
INSTRUCTIONS = "Use the tools."
ASKED: list[str] = []
INTERPRETER = {"type": "code_interpreter", "container": {"type": "auto"}}
FUNCTION = {
    "type": "function",
    "name": "get_weather",
    "description": "How warm it is at a place.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


def get_weather(city: str) -> str:
    """How warm it is at a place."""
    ASKED.append(city)
    return "21 degrees"


def openai_agents(base: str, key: str, model: str, is_streamed: bool) -> str:
    from agents import (
        Agent,
        CodeInterpreterTool,
        OpenAIResponsesModel,
        Runner,
        function_tool,
        set_tracing_disabled,
    )
    from openai import AsyncOpenAI

    set_tracing_disabled(True)

    async def talk() -> str:
        async with AsyncOpenAI(base_url=base, api_key=key, max_retries=0) as client:
            agent = Agent(
                name="tester",
                instructions=INSTRUCTIONS,
                model=OpenAIResponsesModel(model=model, openai_client=client),
                tools=[CodeInterpreterTool(tool_config=INTERPRETER), function_tool(get_weather)],
            )
            if not is_streamed:
                return str((await Runner.run(agent, QUESTION)).final_output)
            run = Runner.run_streamed(agent, QUESTION)
            async for _ in run.stream_events():
                pass
            return str(run.final_output)

    return asyncio.run(talk())


def langchain(base: str, key: str, model: str, is_streamed: bool) -> str:
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(
        base_url=base, api_key=key, model=model, use_responses_api=True, max_retries=0
    ).bind_tools([INTERPRETER, FUNCTION])
    messages = [HumanMessage(QUESTION)]
    for _ in range(4):
        pieces = list(chat.stream(messages)) if is_streamed else [chat.invoke(messages)]
        reply = sum(pieces[1:], pieces[0])
        messages.append(reply)
        if not reply.tool_calls:
            text = reply.text
            return text() if callable(text) and not isinstance(text, str) else text
        for call in reply.tool_calls:
            messages.append(ToolMessage(get_weather(**call["args"]), tool_call_id=call["id"]))
    return "no answer"


def pydantic_ai(base: str, key: str, model: str, is_streamed: bool) -> str:
    from pydantic_ai import Agent
    from pydantic_ai.capabilities import NativeTool
    from pydantic_ai.models.openai import OpenAIResponsesModel
    from pydantic_ai.native_tools import CodeExecutionTool
    from pydantic_ai.providers.openai import OpenAIProvider

    agent = Agent(
        OpenAIResponsesModel(model, provider=OpenAIProvider(base_url=base, api_key=key)),
        instructions=INSTRUCTIONS,
        tools=[get_weather],
        capabilities=[NativeTool(CodeExecutionTool())],
        # Else it leaves out of its history what ran on the server.
        model_settings={"openai_previous_response_id": "auto"},
    )

    async def talk() -> str:
        if not is_streamed:
            return (await agent.run(QUESTION)).output
        async with agent.run_stream(QUESTION) as run:
            return await run.get_output()

    return asyncio.run(talk())


def litellm(base: str, key: str, model: str, is_streamed: bool) -> str:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # It would fetch a list of prices.
    import litellm

    history = [{"role": "user", "content": QUESTION}]
    for _ in range(4):
        reply = litellm.responses(
            model=f"openai/{model}",
            input=history,
            tools=[INTERPRETER, FUNCTION],
            api_base=base,
            api_key=key,
            stream=is_streamed,
        )
        if is_streamed:
            events = list(reply)
            reply = next(e.response for e in events if e.type == "response.completed")
        items = [i if isinstance(i, dict) else i.model_dump() for i in reply.output]
        history += [{k: v for k, v in item.items() if v is not None} for item in items]
        calls = [item for item in items if item["type"] == "function_call"]
        if not calls:
            message = next(item for item in items if item["type"] == "message")
            return "".join(part["text"] for part in message["content"])
        for call in calls:
            output = get_weather(**json.loads(call["arguments"]))
            history.append(
                {"type": "function_call_output", "call_id": call["call_id"], "output": output}
            )
    return "no answer"


def main(name: str, how: str, origin: str, key: str, model: str) -> None:
    known = {one.__name__: one for one in (openai_agents, langchain, pydantic_ai, litellm)}
    answer = known[name](f"{origin}/v1", key, model, how == "streamed")
    print(json.dumps({"answer": answer, "asked": ASKED}))


if __name__ == "__main__":
    main(*sys.argv[1:])
