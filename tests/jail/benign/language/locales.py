# uses: setlocale, encodings, collation
# out: utf-8 UTF-8 1,234.50
import locale
import sys

locale.setlocale(locale.LC_ALL, "")
locale.setlocale(locale.LC_ALL, "C.UTF-8")
print(sys.getfilesystemencoding(), locale.getencoding().upper(), f"{1234.5:,.2f}")
