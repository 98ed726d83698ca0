"""A hundred questions of our own for the embedded model, each with the right value.

No value is written by hand: a few lines of Python beside the question compute it, other than the
model will. Tables are made here too.
"""

import calendar
import math
import statistics
from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final, Literal, NamedTuple

Kind = Literal["numbers", "dates", "tables", "texts", "lists"]


class Asked(NamedTuple):
    """One question; the answer is right if it has `expected`, or one of several."""

    kind: Kind
    question: str
    expected: tuple[str, ...]
    table: str = ""


# ---- tables -------------------------------------------------------------------------------------

ORDERS: Final = [
    (number, day, who, what, count, price)
    for number, (day, who, what, count, price) in enumerate(
        [
            ("2024-01-05", "Ada", "lamp", 2, 24.5),
            ("2024-01-19", "Ben", "chair", 4, 61.0),
            ("2024-02-02", "Ada", "desk", 1, 240.0),
            ("2024-02-14", "Cleo", "lamp", 5, 23.0),
            ("2024-02-27", "Dan", "chair", 1, 66.0),
            ("2024-03-03", "Ben", "desk", 2, 235.5),
            ("2024-03-18", "Cleo", "shelf", 3, 48.0),
            ("2024-03-30", "Eve", "lamp", 10, 21.0),
            ("2024-04-11", "Ada", "shelf", 2, 49.5),
            ("2024-04-21", "Eve", "chair", 6, 58.0),
            ("2024-05-09", "Dan", "desk", 1, 251.0),
            ("2024-05-23", "Ben", "lamp", 3, 24.0),
        ],
        start=1001,
    )
]
WEATHER: Final = [
    (date(2023, 7, 1) + timedelta(days=day), round(18 + 6 * math.sin(day / 2) + day % 5 * 0.7, 1),
     (day * 7) % 11 if day % 3 else 0)
    for day in range(31)
]  # fmt: skip
PEOPLE: Final = [
    ("Ines", 34, "Lisbon", 3100), ("Jonas", 51, "Berlin", 4200), ("Kim", 28, "Seoul", 3900),
    ("Lena", 45, "Berlin", 5100), ("Mara", 39, "Lisbon", 2800), ("Nils", 62, "Oslo", 6100),
    ("Otto", 23, "Berlin", 2500), ("Pia", 31, "Oslo", 5200), ("Quin", 47, "Seoul", 4400),
]  # fmt: skip


def _csv(head: str, rows: list[tuple[object, ...]]) -> str:
    return "\n".join((head, *(",".join(map(str, row)) for row in rows))) + "\n"


TABLES: Final[Mapping[str, str]] = {
    "orders.csv": _csv("order,date,customer,product,quantity,price", list(ORDERS)),
    "weather.csv": _csv("day,temperature,rain_mm", list(WEATHER)),
    "people.csv": _csv("name,age,city,salary", list(PEOPLE)),
}


def _number(value: float, places: int = 2) -> tuple[str, ...]:
    """`value` as a model may write it: with all places, and without zeros at its end."""
    text = f"{value:.{places}f}"
    return (text, text.rstrip("0").rstrip(".")) if "." in text else (text,)


def _spent(name: str) -> float:
    return sum(row[4] * row[5] for row in ORDERS if row[2] == name)


def _sold(product: str) -> int:
    return sum(row[4] for row in ORDERS if row[3] == product)


_revenue = Counter[str]()
for _row in ORDERS:
    _revenue[_row[2]] += round(_row[4] * _row[5])
_hottest = max(WEATHER, key=lambda row: row[1])
_pay = {city: [row[3] for row in PEOPLE if row[2] == city] for _, _, city, _ in PEOPLE}
_months = Counter(row[1][:7] for row in ORDERS)
TABLE_QUESTIONS: Final = [
    ("orders.csv", "How many lamps were sold in all?", (str(_sold("lamp")),)),
    ("orders.csv", "What is the total revenue (quantity times price)?",
     _number(sum(row[4] * row[5] for row in ORDERS))),
    ("orders.csv", "How much did Ada spend in total?", _number(_spent("Ada"))),
    ("orders.csv", "Which customer spent the most in total?", (_revenue.most_common(1)[0][0],)),
    ("orders.csv", "How many different customers are there?", (str(len(_revenue)),)),
    ("orders.csv", "How many orders were placed in February 2024?", (str(_months["2024-02"]),)),
    ("orders.csv", "What is the average price of a chair over all orders of chairs? Round to two"
     " decimals.", _number(statistics.mean(row[5] for row in ORDERS if row[3] == "chair"))),
    ("orders.csv", "What is the largest quantity in one order?",
     (str(max(row[4] for row in ORDERS)),)),
    ("orders.csv", "哪种产品的销售数量最多?", ("lamp", "灯")),
    ("weather.csv", "What was the highest temperature?", _number(_hottest[1], 1)),
    ("weather.csv", "On which day was the temperature highest? Answer as YYYY-MM-DD.",
     (str(_hottest[0]),)),
    ("weather.csv", "On how many days did it not rain at all?",
     (str(sum(row[2] == 0 for row in WEATHER)),)),
    ("weather.csv", "How many millimetres of rain fell in all?",
     (str(sum(row[2] for row in WEATHER)),)),
    ("weather.csv", "What is the mean temperature? Round to two decimals.",
     _number(statistics.mean(row[1] for row in WEATHER))),
    ("weather.csv", "On how many days was it warmer than 22 degrees?",
     (str(sum(row[1] > 22 for row in WEATHER)),)),
    ("weather.csv", "What is the median temperature?",
     _number(statistics.median(row[1] for row in WEATHER), 1)),
    ("weather.csv", "文件里有多少天的数据?", (str(len(WEATHER)),)),
    ("people.csv", "What is the average age? Round to one decimal.",
     _number(statistics.mean(row[1] for row in PEOPLE), 1)),
    ("people.csv", "Who has the highest salary?", (max(PEOPLE, key=lambda row: row[3])[0],)),
    ("people.csv", "How many people live in Berlin?", (str(len(_pay["Berlin"])),)),
    ("people.csv", "What is the average salary in Oslo?",
     _number(statistics.mean(_pay["Oslo"]))),
    ("people.csv", "Which city has the highest average salary?",
     (max(_pay, key=lambda city: statistics.mean(_pay[city])),)),
    ("people.csv", "What is the median salary?",
     (str(statistics.median(row[3] for row in PEOPLE)),)),
    ("people.csv", "How many people are older than 40?",
     (str(sum(row[1] > 40 for row in PEOPLE)),)),
    ("people.csv", "谁的年龄最小?", (min(PEOPLE, key=lambda row: row[1])[0],)),
]  # fmt: skip

# ---- dates --------------------------------------------------------------------------------------


def _day_name(day: date) -> tuple[str, ...]:
    return (f"{day:%A}",)


def _fridays(year: int, month: int) -> int:
    return sum(week[calendar.FRIDAY] != 0 for week in calendar.monthcalendar(year, month))


_thirteenths = [date(2026, month, 13) for month in range(1, 13)]
DATE_QUESTIONS: Final = [
    ("How many days are there from 2024-01-15 to 2024-09-02?",
     (str((date(2024, 9, 2) - date(2024, 1, 15)).days),)),
    ("Which date is 250 days after 2023-03-10? Answer as YYYY-MM-DD.",
     (str(date(2023, 3, 10) + timedelta(days=250)),)),
    ("What day of the week was 4 July 1976?", _day_name(date(1976, 7, 4))),
    ("What day of the week is 29 February 2028?", _day_name(date(2028, 2, 29))),
    ("Which date is 45 days before 2025-01-10? Answer as YYYY-MM-DD.",
     (str(date(2025, 1, 10) - timedelta(days=45)),)),
    ("How many leap years are there from 1900 to 2000, both included?",
     (str(sum(map(calendar.isleap, range(1900, 2001)))),)),
    ("How many Fridays are there in May 2026?", (str(_fridays(2026, 5)),)),
    ("How many Friday the 13ths are there in 2026?",
     (str(sum(day.weekday() == 4 for day in _thirteenths)),)),
    ("What is the ISO week number of 2024-12-30?",
     (str(date(2024, 12, 30).isocalendar().week),)),
    ("On which day of the year (1 to 366) does 2024-10-31 fall?",
     (str(date(2024, 10, 31).timetuple().tm_yday),)),
    ("How many hours are there between 2024-03-01 08:30 and 2024-03-04 20:30?", ("84",)),
    ("How many minutes are there between 09:15 and 17:48 of the same day?", ("513",)),
    ("What is the last day of February 2100? Answer as YYYY-MM-DD.", ("2100-02-28",)),
    ("How many full weeks are there in 1000 days?", (str(1000 // 7),)),
    ("A person was born on 1990-08-25. How many years old is that person on 2024-08-24?", ("33",)),
    ("How many seconds are there in the year 2024?", (str(366 * 86400),)),
    ("What day of the week comes 100 days after Monday?", ("Wednesday",)),
    ("How many days does the second quarter (April to June) of 2025 have?", (str(30 + 31 + 30),)),
    ("How many weekdays, Monday to Friday, are there in January 2025?",
     (str(sum(date(2025, 1, day).weekday() < 5 for day in range(1, 32))),)),
    ("Which date is exactly halfway between 2024-01-01 and 2024-12-31? Answer as YYYY-MM-DD.",
     (str(date(2024, 1, 1) + timedelta(days=365 // 2)), "2024-07-02")),
    ("从2024年2月1日到2024年5月1日有多少天?",
     (str((date(2024, 5, 1) - date(2024, 2, 1)).days),)),
    ("2030年1月1日是星期几?", ("星期二", "Tuesday", "周二")),
    ("How many days are there in the years 2019 to 2024 together?",
     (str(sum(365 + calendar.isleap(year) for year in range(2019, 2025))),)),
    ("What day of the week was 1 January 2000?", _day_name(date(2000, 1, 1))),
    ("How many months have exactly 31 days in a year?", ("7", "seven")),
]  # fmt: skip

# ---- numbers, lists, texts ----------------------------------------------------------------------


def _primes(below: int) -> list[int]:
    return [n for n in range(2, below) if all(n % d for d in range(2, math.isqrt(n) + 1))]


def _collatz(number: int) -> int:
    steps = 0
    while number != 1:
        number = number // 2 if number % 2 == 0 else 3 * number + 1
        steps += 1
    return steps


def _fibonacci(number: int) -> int:
    first, second = 0, 1
    for _ in range(number):
        first, second = second, first + second
    return first


NUMBER_QUESTIONS: Final = [
    ("What is 37 to the 12th power?", (str(37**12),)),
    ("What is the greatest common divisor of 123456 and 7890?", (str(math.gcd(123456, 7890)),)),
    ("What is the least common multiple of 84 and 126?", (str(math.lcm(84, 126)),)),
    ("How many prime numbers are there below 1000?", (str(len(_primes(1000))),)),
    ("What is the 100th prime number?", (str(_primes(600)[99]),)),
    ("What is the sum of the digits of 2 to the 200th power?",
     (str(sum(map(int, str(2**200)))),)),
    ("What is 1234 in binary?", (f"{1234:b}",)),
    ("What is the hexadecimal number FACE in decimal?", (str(0xFACE),)),
    ("What is 25 factorial divided by 22 factorial?", (str(25 * 24 * 23),)),
    ("In how many ways can 5 of 12 people be chosen?", (str(math.comb(12, 5)),)),
    ("What is the 40th Fibonacci number, if the first two are 1 and 1?", (str(_fibonacci(40)),)),
    ("How many divisors does 5040 have?", (str(sum(5040 % n == 0 for n in range(1, 5041))),)),
    ("How many steps does the Collatz sequence that starts at 27 take to reach 1?",
     (str(_collatz(27)),)),
    ("1500 euros earn 3.5 percent interest a year, compounded yearly. How much is it after 10"
     " years? Round to two decimals.", _number(1500 * 1.035**10)),
    ("What is 7 to the 222nd power modulo 1000?", (str(pow(7, 222, 1000)),)),
    ("What is the square root of 12345, rounded to three decimals?",
     _number(math.sqrt(12345), 3)),
    ("What is the sum of all multiples of 3 or 5 below 2000?",
     (str(sum(n for n in range(2000) if n % 3 == 0 or n % 5 == 0)),)),
    ("What is the largest prime factor of 600851475143?", ("6857",)),
    ("1到500之间有多少个能被7整除的数?", (str(500 // 7),)),
    ("一个圆的半径是7.5,面积是多少?保留两位小数。", _number(math.pi * 7.5**2)),
]  # fmt: skip

VALUES: Final = [23, 7, 91, 45, 12, 68, 34, 7, 55, 80]
LIST_QUESTIONS: Final = [
    (f"What is the median of {VALUES}?", _number(statistics.median(VALUES), 1)),
    (f"What is the population standard deviation of {VALUES}? Round to two decimals.",
     _number(statistics.pstdev(VALUES))),
    (f"What is the second largest number in {VALUES}?", ("80",)),
    (f"What is the sum of the even numbers in {VALUES}?",
     (str(sum(n for n in VALUES if n % 2 == 0)),)),
    (f"How many numbers in {VALUES} are greater than their mean?",
     (str(sum(n > statistics.mean(VALUES) for n in VALUES)),)),
    (f"What is the product of the numbers in {VALUES[:5]}?", (str(math.prod(VALUES[:5])),)),
    (f"What is the difference between the largest and the smallest number in {VALUES}?",
     (str(max(VALUES) - min(VALUES)),)),
    (f"What is the most frequent number in {VALUES}?", ("7",)),
    (f"What is the sample variance of {VALUES[:6]}? Round to two decimals.",
     _number(statistics.variance(VALUES[:6]))),
    (f"If {VALUES} is sorted in ascending order, which number is at the third place?", ("12",)),
    ("What is the dot product of [1, 4, 7, 2] and [3, 0, 5, 8]?", ("54",)),
    ("What is the determinant of the matrix [[2, 5, 1], [0, 3, 4], [7, 1, 6]]?",
     (str(2 * (18 - 4) - 5 * (0 - 28) + (0 - 21)),)),
    ("How many pairs of numbers in [1, 5, 7, 3, 9, 2, 8] add up to 10?", ("3", "three")),
    ("列表[4, 8, 15, 16, 23, 42]的平均数是多少?", ("18",)),
    ("What is the length of the longest increasing run of neighbours in"
     " [3, 4, 6, 2, 5, 7, 9, 11, 1, 8]?", ("5", "five")),
]  # fmt: skip

SENTENCE: Final = "The quick brown fox jumps over the lazy dog near the riverbank"
TEXT_QUESTIONS: Final = [
    ("How many times does the letter s occur in 'Mississippi possesses classes'?",
     (str("Mississippi possesses classes".count("s")),)),
    ("What is 'kernel namespaces' spelled backwards?", ("kernel namespaces"[::-1],)),
    (f"How many vowels are there in '{SENTENCE}'?",
     (str(sum(letter in "aeiou" for letter in SENTENCE.lower())),)),
    (f"How many words are there in '{SENTENCE}'?", (str(len(SENTENCE.split())),)),
    (f"What is the longest word in '{SENTENCE}'?", ("riverbank",)),
    ("Is 'A man a plan a canal Panama' a palindrome when spaces and case are ignored? Answer yes"
     " or no.", ("yes",)),
    ("What is the Caesar cipher of HELLO with a shift of 3?", ("KHOOR",)),
    ("How many different letters are there in 'bookkeeper'?", (str(len(set("bookkeeper"))),)),
    ("What is the MD5 hash of the text hello?", ("5d41402abc4b2a76b9719d911017c592",)),
    ("Which of the words pear, apple, fig, banana and cherry is the last in the alphabet?",
     ("pear",)),
    ("What is the sum of the ASCII codes of the letters in 'Python'?",
     (str(sum(map(ord, "Python"))),)),
    ("How many anagrams, counting the word itself, do the letters of BANANA have?",
     (str(math.factorial(6) // (6 * 2)),)),
    ("What is the Base64 encoding of the text cellblock?", ("Y2VsbGJsb2Nr",)),
    ("字符串'程序设计语言'有多少个字?", ("6", "六")),
    ("What is the Roman numeral MCMXCIV as a number?", ("1994",)),
]  # fmt: skip

QUESTIONS: Final = (
    *(Asked("numbers", text, right) for text, right in NUMBER_QUESTIONS),
    *(Asked("dates", text, right) for text, right in DATE_QUESTIONS),
    *(Asked("tables", text, right, table) for table, text, right in TABLE_QUESTIONS),
    *(Asked("lists", text, right) for text, right in LIST_QUESTIONS),
    *(Asked("texts", text, right) for text, right in TEXT_QUESTIONS),
)
