# uses: child watchers, pipes in an event loop
# out: b'4\n' 0
import asyncio
import sys


async def main():
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(2+2)", stdout=-1)
    out, _ = await child.communicate()
    return out, child.returncode


print(*asyncio.run(main()))
