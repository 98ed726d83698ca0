# uses: decimal, fractions, very long integers
# out: 0.1428571428571428571428571429 5/6 369
# text: 15511210043330985984000000
import math
from decimal import Decimal, getcontext
from fractions import Fraction

getcontext().prec = 28
print(Decimal(1) / 7, Fraction(1, 2) + Fraction(1, 3), len(str(2**1223)))
math.factorial(25)
