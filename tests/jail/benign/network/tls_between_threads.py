# uses: ssl contexts, certificates made on the fly are not needed for an anonymous pair
# out: PROTOCOL_TLS_CLIENT True True
import ssl

context = ssl.create_default_context()
context.minimum_version = ssl.TLSVersion.TLSv1_2
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
try:
    session.do_handshake()
except ssl.SSLWantReadError:
    hello = outgoing.read()
print(context.protocol.name, len(context.get_ciphers()) > 3, hello[0] == 22)
