# any tier: file_reader -> completed
# A directory with the name of a table.
# get: table.csv -> refused
os.mkdir("table.csv")
