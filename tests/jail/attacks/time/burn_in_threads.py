# any tier: host -> limit_exceeded cpu_s
# Threads that hash without the interpreter's lock.
# limits: cpu_s=0.4
import hashlib
import threading


def burn():
    block = bytes(1 << 20)
    while True:
        hashlib.sha256(block)


for _ in range(4):
    threading.Thread(target=burn, daemon=True).start()
burn()
