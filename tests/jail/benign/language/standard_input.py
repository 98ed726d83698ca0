# uses: input(), sys.stdin, reading to the end
# stdin: 3\n4 5\n
# out: 12
import sys

first = int(input())
print(first + sum(map(int, sys.stdin.read().split())))
