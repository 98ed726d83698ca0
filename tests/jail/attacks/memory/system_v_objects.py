# any tier: seccomp -> completed, ENOSYS
# Segments, semaphores and queues stay in the kernel when their processes are gone.
IPC_PRIVATE, IPC_CREAT = 0, 0o1000
attempt(
    lambda: call("shmget", IPC_PRIVATE, 1 << 20, IPC_CREAT | 0o600),
    lambda: call("semget", IPC_PRIVATE, 16, IPC_CREAT | 0o600),
    lambda: call("msgget", IPC_PRIVATE, IPC_CREAT | 0o600),
)
