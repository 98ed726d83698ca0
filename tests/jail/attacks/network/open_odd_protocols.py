# namespaces: seccomp -> completed, E*NOSUPPORT | landlock: seccomp -> completed, EACCES
# SCTP, DCCP, UDP-Lite, L2TP and SMC are large modules behind an ordinary family.
import socket

kinds = [(1, 132), (5, 132), (6, 33), (2, 136), (2, 115), (1, 256)]
attempt(*(lambda k=k, p=p: socket.socket(socket.AF_INET, k, p).fileno() for k, p in kinds))
