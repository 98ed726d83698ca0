# any tier: seccomp -> completed, EPERM
# BPF maps and programs.
attributes = ctypes.create_string_buffer(128)
attempt(*(lambda command=command: call("bpf", command, attributes, 128) for command in (0, 5, 18)))
