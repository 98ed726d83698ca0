# any tier: seccomp -> completed, EPERM
# Host and domain name.
name = b"cellblock"
attempt(
    lambda: call("sethostname", name, len(name)) or "hostname",
    lambda: call("setdomainname", name, len(name)) or "domainname",
)
