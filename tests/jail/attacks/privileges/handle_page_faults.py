# any tier: seccomp -> completed, EPERM
# userfaultfd holds kernel code still at a moment that an attacker chose.
UFFD_USER_MODE_ONLY = 1
attempt(lambda: call("userfaultfd", UFFD_USER_MODE_ONLY), lambda: call("userfaultfd", 0))
