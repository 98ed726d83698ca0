# any tier: file_reader -> completed
# A listing is bounded, and says so.
for number in range(900):
    os.close(os.open(f"file{number:04}.txt", os.O_CREAT | os.O_WRONLY))
