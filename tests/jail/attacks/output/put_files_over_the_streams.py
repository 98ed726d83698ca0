# any tier: protocol -> completed, data
# Other files under the numbers of the streams, and a stream that does not wait.
import fcntl

contained("data")
fd = os.open(os.devnull, os.O_RDWR)
for number in (0, 1, 2):
    fcntl.fcntl(number, fcntl.F_SETFL, os.O_NONBLOCK)
    os.dup2(fd, number)
print("lost")
