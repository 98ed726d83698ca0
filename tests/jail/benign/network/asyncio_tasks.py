# uses: epoll, timers, cancellation, task groups
# out: [0, 1, 2] cancelled timeout
import asyncio


async def wait(number):
    await asyncio.sleep(0.001 * number)
    return number


async def main():
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(wait(number)) for number in range(3)]
    endless = asyncio.create_task(asyncio.sleep(100))
    await asyncio.sleep(0)
    endless.cancel()
    words = []
    try:
        await endless
    except asyncio.CancelledError:
        words.append("cancelled")
    try:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(100)
    except TimeoutError:
        words.append("timeout")
    return [task.result() for task in tasks], *words


print(*asyncio.run(main()))
