# uses: accept in threads, socket options
# tiers: namespaces
# out: b'dlrow'
import socket
import socketserver
import threading


class Reverse(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline().strip()[::-1])


socketserver.ThreadingTCPServer.allow_reuse_address = True
with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Reverse) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with socket.create_connection(server.server_address, timeout=10) as client:
        client.sendall(b"world\n")
        print(client.recv(100))
    server.shutdown()
