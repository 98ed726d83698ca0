# any tier: seccomp -> completed, EPERM
# Keys have no namespace of their own: what one session adds, another could find.
KEYCTL_GET_KEYRING_ID, USER_KEYRING = 0, -4
attempt(
    lambda: call("keyctl", KEYCTL_GET_KEYRING_ID, USER_KEYRING, 1),
    lambda: call("add_key", b"user", b"note", b"data", 4, USER_KEYRING),
    lambda: call("request_key", b"user", b"note", None, USER_KEYRING),
)
