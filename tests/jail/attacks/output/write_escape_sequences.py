# any tier: protocol -> completed, data
# Sequences that write the clipboard, set the title or answer in the reader's shell stay data.
print("\x1b]52;c;ZXZpbA==\x07\x1b]0;title\x07\x1b[c\x1b[6n\x9b31m\u202e\u2066\u2028\x00\x7f\r")
contained("data")
