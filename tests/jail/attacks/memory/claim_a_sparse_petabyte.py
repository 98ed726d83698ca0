# any tier: rlimits -> completed, EFBIG
# A length is only a number, until somebody reads the file.
def claim():
    with open("sparse", "wb") as stream:
        stream.truncate(1 << 50)
    return os.stat("sparse").st_size


attempt(claim)
