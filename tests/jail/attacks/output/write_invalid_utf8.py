# any tier: protocol -> completed, data
# Surrogates, overlong forms, cut characters and NUL.
os.write(1, b"\xed\xa0\x80\xc0\xaf\xf5\x80\x80\x80\xe2\x82\x00\xff\xfe" * 1000 + b"\n")
os.write(2, bytes(range(256)) * 10)
contained("data")
