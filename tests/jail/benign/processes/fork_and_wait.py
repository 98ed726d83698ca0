# uses: fork, exit codes, and a wait loop that ends when there are no children left
# out: [3, 4, 5]
import os

for number in range(3):
    if os.fork() == 0:
        os._exit(3 + number)
codes = []
while True:
    try:
        _pid, status = os.wait()
    except ChildProcessError:
        break
    codes.append(os.waitstatus_to_exitcode(status))
print(sorted(codes))
