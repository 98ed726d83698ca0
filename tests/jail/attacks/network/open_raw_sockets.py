# namespaces: seccomp -> completed, E*NOSUPPORT | landlock: seccomp -> completed, EACCES/E*NOSUPPORT
# Forge packets, or listen to those of others.
import socket

kinds = [
    (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
    (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
    (socket.AF_PACKET, socket.SOCK_RAW, 0x300),
    (socket.AF_PACKET, socket.SOCK_DGRAM, 0x300),
    (socket.AF_INET, 10, 0x300),
]
attempt(*(lambda kind=kind: socket.socket(*kind) for kind in kinds))
