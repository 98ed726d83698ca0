# uses: handlers on files and streams, filters
# out: ['first', 'second'] deprecated
import logging
import warnings

logger = logging.getLogger("demo")
logger.setLevel(logging.INFO)
logger.addHandler(logging.FileHandler("log.txt"))
logger.propagate = False
logger.info("first")
logger.warning("second")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    warnings.warn("deprecated", DeprecationWarning)
print(open("log.txt").read().split(), caught[0].message)
