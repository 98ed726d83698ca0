# any tier: file_reader -> completed
# The engine reads files for its user with more rights than the guest has: a link is a question.
# get: loot.txt -> refused
os.symlink(CANARY_FILE, "loot.txt")
