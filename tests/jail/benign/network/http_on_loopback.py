# uses: http.server with urllib as its client, name of localhost
# tiers: namespaces
# out: 200 {'path': '/a?b=1'} 404
import http.server
import json
import threading
import urllib.error
import urllib.request


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path.startswith("/a") else 404)
        self.end_headers()
        self.wfile.write(json.dumps({"path": self.path}).encode())

    def log_message(self, *args):
        return


with http.server.ThreadingHTTPServer(("localhost", 0), Handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://localhost:{server.server_port}"
    with urllib.request.urlopen(f"{base}/a?b=1", timeout=10) as answer:
        print(answer.status, json.load(answer), end=" ")
    try:
        urllib.request.urlopen(f"{base}/z", timeout=10)
    except urllib.error.HTTPError as error:
        print(error.code)
    server.shutdown()
