# uses: names, normalization, output beyond ASCII and beyond UTF-8
# out: é LATIN SMALL LETTER E WITH ACUTE 🐍 naïve 1
import os
import unicodedata

os.makedirs("größe")
composed = unicodedata.normalize("NFC", "e\u0301")
print(composed, unicodedata.name(composed), "🐍", "naïve", len(os.listdir()))
