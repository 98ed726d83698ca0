# namespaces: seccomp -> completed, ESRCH | landlock: seccomp -> completed, EPERM
# Queued signals carry a forged sender and value.
information = ctypes.create_string_buffer(128)
ctypes.c_int.from_buffer(information, 8).value = -1
attempt(lambda: call("rt_tgsigqueueinfo", VICTIM_PID, VICTIM_PID, 10, information))
