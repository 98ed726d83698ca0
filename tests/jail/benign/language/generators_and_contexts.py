# uses: async generators, context variables, exception groups, match
# out: [0, 1] inner outer point
import asyncio
import contextvars

level = contextvars.ContextVar("level", default="outer")


async def count():
    for number in range(2):
        yield number


async def main():
    return [number async for number in count()]


def inner():
    level.set("inner")
    return level.get()


match {"kind": "point", "at": (1, 2)}:
    case {"kind": kind, "at": (x, y)} if x < y:
        word = kind
try:
    raise ExceptionGroup("group", [ValueError(1), TypeError(2)])
except* ValueError:
    pass
except* TypeError:
    pass
print(asyncio.run(main()), contextvars.copy_context().run(inner), level.get(), word)
