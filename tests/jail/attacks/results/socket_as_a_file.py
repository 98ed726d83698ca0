# namespaces: file_reader -> completed, bound | landlock: file_reader -> completed, EACCES
# A name that cannot be opened at all.
# get: socket.txt -> refused
import socket


def bind():
    socket.socket(socket.AF_UNIX).bind("socket.txt")
    return HARMLESS


attempt(bind, harmless="bound")
