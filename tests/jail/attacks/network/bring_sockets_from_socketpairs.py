# any tier: seccomp -> completed, EAFNOSUPPORT
# socketpair() is a second door to socket families: internet pairs, netlink pairs, TIPC pairs.
import socket

AF_TIPC = 30
families = (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET, AF_TIPC, 40)
attempt(*(lambda family=family: socket.socketpair(family) for family in families))
