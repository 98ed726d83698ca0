# uses: a server of the standard library in a thread
# tiers: namespaces
# out: 5
import threading
import xmlrpc.client
from xmlrpc.server import SimpleXMLRPCServer

with SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False) as server:
    server.register_function(lambda a, b: a + b, "add")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{server.server_address[1]}") as proxy:
        print(proxy.add(2, 3))
    server.shutdown()
