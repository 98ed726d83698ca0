# namespaces: pid_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES
# Command lines show paths, arguments and often passwords.
# bare: escapes
attempt(lambda: open(f"/proc/{VICTIM_PID}/cmdline", "rb").read() or HARMLESS, harmless="empty")
