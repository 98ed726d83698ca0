# any tier: seccomp -> completed, EAFNOSUPPORT
# Names and addresses of the host's interfaces.
import socket


def foreign():
    names = {name for _index, name in socket.if_nameindex()}
    return names - {"lo"} or HARMLESS


attempt(foreign, harmless="lo only")
