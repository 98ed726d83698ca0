# namespaces: net_namespace -> completed, ECONNREFUSED | landlock: seccomp -> completed, EACCES
# The same service by an IPv4 address inside an IPv6 socket.
# bare: escapes
import socket

attempt(lambda: socket.create_connection(("::ffff:127.0.0.1", TCP_PORT), timeout=2).recv(100))
