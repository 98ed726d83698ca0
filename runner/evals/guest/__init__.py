"""What runs inside the jail; standard library only. The host reads these files and never loads
them: they are compiled in a jail, by the interpreter that will run them.
"""
