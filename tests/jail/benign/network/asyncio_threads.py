# uses: executors and wake-up sockets of an event loop
# out: 7 11
import asyncio


async def main():
    loop = asyncio.get_running_loop()
    first = await asyncio.to_thread(lambda: 7)
    return first, await loop.run_in_executor(None, int, "11")


print(*asyncio.run(main()))
