# uses: a socket file in a temporary directory
# tiers: namespaces
# out: b'pong'
import asyncio
import tempfile


async def serve(reader, writer):
    await reader.readline()
    writer.write(b"pong")
    writer.close()


async def main():
    with tempfile.TemporaryDirectory() as folder:
        server = await asyncio.start_unix_server(serve, f"{folder}/s")
        reader, writer = await asyncio.open_unix_connection(f"{folder}/s")
        writer.write(b"ping\n")
        answer = await reader.read()
        writer.close()
        server.close()
    return answer


print(asyncio.run(main()))
