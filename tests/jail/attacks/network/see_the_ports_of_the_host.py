# namespaces: net_namespace -> completed, own ports | landlock: seccomp -> completed, EACCES
# A port that is taken on the host is taken here too, if the network is shared.
# bare: escapes
import socket


def taken():
    with socket.socket() as server:
        try:
            server.bind(("127.0.0.1", TCP_PORT))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "the port is taken"
            raise
    return HARMLESS


attempt(taken, harmless="own ports")
