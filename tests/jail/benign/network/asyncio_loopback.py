# uses: a server and a client of asyncio on the session's own loopback
# tiers: namespaces
# out: b'HELLO'
import asyncio


async def serve(reader, writer):
    writer.write((await reader.readexactly(5)).upper())
    await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"hello")
    answer = await reader.read()
    writer.close()
    server.close()
    return answer


print(asyncio.run(main()))
