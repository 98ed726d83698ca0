# uses: await at the top of a snippet, as notebooks allow
# text: 'awaited'
import asyncio

await asyncio.sleep(0)
"awaited"
