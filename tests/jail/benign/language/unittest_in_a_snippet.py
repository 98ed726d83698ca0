# uses: unittest.main without an exit, classes in __main__
# out: 2 1 0
import io
import unittest


class Demo(unittest.TestCase):
    def test_right(self):
        self.assertEqual(1 + 1, 2)

    def test_wrong(self):
        self.assertEqual(1 + 1, 3)


suite = unittest.defaultTestLoader.loadTestsFromTestCase(Demo)
result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
print(result.testsRun, len(result.failures), len(result.errors))
