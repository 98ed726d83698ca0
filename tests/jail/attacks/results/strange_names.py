# any tier: file_reader -> completed
# Line ends, escapes, invalid text, option marks, and the longest name there is.
# get: honest.txt -> honest
names = [
    b"two\nlines", b"\x1b[2J", b"\xff\xfe\xed\xa0\x80", b"-rf", b"--help", b" ", b"...", b"~",
    b"$(touch x)", b"`id`", b"a;b|c&d", b"C:\\x", b"\xe2\x80\xaegnp.exe", b"con", b"x" * 255,
    b"%2e%2e%2f", b"\r", b"\t", b"'\"", b"*", b"nul\x01\x7f",
]
for name in names:
    with open(name, "wb") as stream:
        stream.write(b"strange")
open("honest.txt", "w").write("honest")
