# any tier: file_reader -> completed
# The user asks for a path that the guest suggested.
# get: ../../../../../../../../etc/passwd -> refused
# get: /etc/passwd -> refused
# get: folder/../../../../../etc/passwd -> refused
# get: honest.txt -> honest
os.mkdir("folder")
open("honest.txt", "w").write("honest")
