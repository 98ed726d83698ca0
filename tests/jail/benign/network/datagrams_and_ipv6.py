# uses: UDP, IPv6 loopback, getaddrinfo without a resolver
# tiers: namespaces
# out: b'datagram' True 127.0.0.1
import socket

receiver = socket.socket(type=socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 0))
receiver.settimeout(10)
sender = socket.socket(type=socket.SOCK_DGRAM)
sender.sendto(b"datagram", receiver.getsockname())
with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
    client = socket.create_connection(server.getsockname()[:2], timeout=10)
    peer, _ = server.accept()
print(receiver.recv(100), peer.getsockname()[0] == "::1", socket.gethostbyname("localhost"))
for handle in (receiver, sender, client, peer):
    handle.close()
