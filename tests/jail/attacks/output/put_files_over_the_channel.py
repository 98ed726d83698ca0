# any tier: protocol -> died exit 70 or fault, replaced
# The number of the channel, taken by a file.
fd = os.open(os.devnull, os.O_RDWR)
for number in channels():
    os.dup2(fd, number)
contained("replaced")
