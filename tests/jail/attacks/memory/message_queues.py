# any tier: seccomp -> completed, ENOSYS
# POSIX message queues are kernel memory with names.
attempt(lambda: call("mq_open", b"hoard", os.O_CREAT | os.O_RDWR, 0o600, None))
