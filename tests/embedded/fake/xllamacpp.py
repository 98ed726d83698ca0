"""The library that serves a model, as far as the child uses it; it answers every question alike.

Weights that read "broken" do not load, "endless" ones never do. What is asked goes to a file.
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

CALL = {
    "index": 0,
    "id": "call_1",
    "function": {"name": "code_interpreter", "arguments": '{"code": "6 * 7"}'},
}


class CommonParams:
    def __init__(self) -> None:
        self.model = SimpleNamespace(path="")
        self.cpuparams, self.cpuparams_batch = SimpleNamespace(), SimpleNamespace()


class Server:
    def __init__(self, settings: CommonParams) -> None:
        print("noise on standard output")
        weights = Path(settings.model.path)
        while weights.read_text() == "endless":
            time.sleep(0.01)
        if weights.read_text() == "broken":
            raise RuntimeError("failed to load the model")
        self._http = ThreadingHTTPServer((settings.hostnames[0], settings.port), Reply)
        self._http.settings = settings
        self.listening_address = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()


class Reply(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(200, b"{}")

    def do_POST(self) -> None:
        settings = self.server.settings
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {settings.api_keys[0]}":
            self._answer(401, b"{}")
            return
        with Path(settings.model.path).with_suffix(".asked").open("a") as file:
            print(json.dumps([self.path, asked]), file=file)
        if self.path.startswith("/slots/0"):
            state = Path(settings.slot_save_path + asked["filename"])
            if self.path.endswith("=save"):
                state.write_text("state")
            is_good = state.read_text() == "state"
            self._answer(200 if is_good else 400, b"{}")
            return
        last = asked["messages"][-1]
        if len(last["content"]) > settings.n_ctx:
            said = "request (9000 tokens) exceeds the available context size (4096 tokens)"
            error = {"code": 400, "message": said, "type": "exceed_context_size_error"}
            self._answer(400, json.dumps({"error": error}).encode())
            return
        is_call = last["role"] == "user"
        delta = {"tool_calls": [CALL]} if is_call else {"content": f"It is {last['content']}."}
        finish = "tool_calls" if is_call else "stop"
        chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        self._answer(200, f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is said."""
