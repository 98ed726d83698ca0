"""The program of the child process that serves a local model: llama.cpp's own HTTP server.

It is started by its file name and imports nothing of this package. The first line of its standard
input says what to serve; the end of its input ends it, and so does the end of its parent. Its
standard output has one line, the address.
"""

import ctypes
import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2)."""


def main() -> int:
    """Serve until the parent goes or closes the pipe."""
    # Ctrl-C at the terminal stops an answer, and is not for this one. Not asked of the loop that
    # starts it: uvloop's knows no process groups.
    os.setpgid(0, 0)
    # First: loading takes seconds, and a child whose parent died in them would never end.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    asked = json.loads(sys.stdin.readline())
    if os.getppid() != asked["parent"]:
        return 1
    # The library may print; the one line of ours must stay the only one.
    report = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = asked["weights"]
    settings.model_alias = {asked["name"]}
    settings.n_ctx, settings.n_parallel = asked["context_tokens"], 1
    settings.n_predict = asked["answer_tokens"]
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = asked["threads"]
    settings.hostnames, settings.port = ["127.0.0.1"], 0
    settings.api_keys = [asked["key"]]
    # By default pages of any origin may ask: on top of the key, this one is none.
    settings.cors_origins = "http://127.0.0.1"
    settings.ui = settings.endpoint_slots = False
    settings.slot_save_path = asked["states"] + os.sep
    settings.cache_ram_mib, settings.verbosity = 64, 1
    # Without a copy of the weights in another layout: 0.6 GB less, a quarter slower.
    settings.no_extra_bufts = True
    settings.use_jinja, settings.chat_template = True, asked["template"]
    server = xllamacpp.Server(settings)
    print(server.listening_address, file=report, flush=True)
    sys.stdin.read()
    # At once: its threads hold nothing that would have to be put in order.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
