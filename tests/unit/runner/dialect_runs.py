"""Runs a scripted conversation through a dialect's writer."""

import asyncio

import pytest

from runner.errors import RequestError
from runner.loop import Loop
from runner.models.port import ModelRequest
from runner.transcript import (
    Question,
)

REQUEST_ID = "5d0f7a52-3b1e-4f0c-8a6d-2e9b7c41f083"
MESSAGES = [{"role": "user", "content": "What is 123 to the 21st power?"}]


def run(loop, feed):
    """What `feed` makes of all events of `loop`."""

    async def drive():
        return [made async for event in loop.run() for made in feed(event)]

    return asyncio.run(drive())


def loop_of(talk, **options):
    model, tool = talk
    return Loop(model, ModelRequest(entries=(Question(text="?"),)), [tool], **options)


def refusal(parse, body, **options):
    with pytest.raises(RequestError) as caught:
        parse(body, **options)
    return caught.value
