# uses: getrandom, OpenSSL, uuid from the network card's number or not
# out: 2cf24dba True 32 4 1
import hashlib
import hmac
import secrets
import uuid

print(
    hashlib.sha256(b"hello").hexdigest()[:8],
    hmac.compare_digest(hmac.digest(b"k", b"m", "sha512"), hmac.digest(b"k", b"m", "sha512")),
    len(secrets.token_hex(16)), uuid.uuid4().version, uuid.uuid1().version,
)
