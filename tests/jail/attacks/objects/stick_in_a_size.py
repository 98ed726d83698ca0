# any tier: protocol -> completed
# The report on new variables must not ask this one for its length: it never answers.
class Sticky(list):
    def __len__(self):
        while True:
            try:
                while True:
                    pass
            except BaseException:
                continue

    shape = nbytes = property(__len__)
    __sizeof__ = __len__


sticky = Sticky()
