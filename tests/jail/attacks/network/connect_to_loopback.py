# namespaces: net_namespace -> completed, ECONNREFUSED | landlock: seccomp -> completed, EACCES
# A service of the host that listens on 127.0.0.1 only.
# bare: escapes
import socket

attempt(lambda: socket.create_connection(("127.0.0.1", TCP_PORT), timeout=2).recv(100))
