# any tier: seccomp -> completed, EAFNOSUPPORT
# Routes, firewall, audit, sock_diag, crypto and generic netlink: large kernel surfaces.
# bare: escapes
import socket

attempt(*(lambda n=n: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, n) for n in range(22)))
