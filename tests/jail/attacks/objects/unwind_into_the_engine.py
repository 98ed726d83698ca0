# any tier: protocol -> died exit 70 or died exit 1 or completed or raised ZeroDivisionError
# An exception that is thrown, by the C API, into the thread that runs the engine's loop.
import threading
import time

target = ctypes.c_ulong(threading.main_thread().ident)


def throw():
    for _ in range(500):
        time.sleep(0.001)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(target, ctypes.py_object(ZeroDivisionError))


threading.Thread(target=throw, daemon=True).start()
# %%
import time

time.sleep(0.1)
