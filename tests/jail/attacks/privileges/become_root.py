# any tier: capabilities -> completed, EPERM
# Every call that changes who a process is.
attempt(
    lambda: os.setuid(0) or "setuid",
    lambda: os.seteuid(0) or "seteuid",
    lambda: os.setgid(0) or "setgid",
    lambda: os.setreuid(0, 0) or "setreuid",
    lambda: os.setresuid(0, 0, 0) or "setresuid",
    lambda: os.setresgid(0, 0, 0) or "setresgid",
    lambda: os.setgroups([0]) or "setgroups",
    lambda: os.setuid(65534) or "setuid to another",
)
