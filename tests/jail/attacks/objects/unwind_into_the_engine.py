# any tier: protocol -> completed or raised ZeroDivisionError or died exit *
# Exceptions that are thrown, by the C API, into the thread that runs the engine's loop: the session
# may end of it, and no other one.
import threading
import time

target = ctypes.c_ulong(threading.main_thread().ident)


def throw():
    for _ in range(200):
        time.sleep(0.001)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(target, ctypes.py_object(ZeroDivisionError))


threading.Thread(target=throw, daemon=True).start()
