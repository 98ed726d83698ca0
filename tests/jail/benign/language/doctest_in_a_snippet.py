# uses: doctest, which replaces stdout and looks for __main__
# out: TestResults(failed=0, attempted=2)
import doctest


def double(x):
    """Twice as much.

    >>> double(2)
    4
    >>> double("a")
    'aa'
    """
    return x * 2


print(doctest.testmod())
