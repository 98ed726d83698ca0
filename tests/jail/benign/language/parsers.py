# uses: CSV, JSON, XML, HTML, INI and TOML
# out: ['1', 'b,c'] {'a': [1.5, None]} two ['p', 'b'] 7 8
import configparser
import csv
import json
import tomllib
import xml.etree.ElementTree as tree
from html.parser import HTMLParser

tags = []


class Tags(HTMLParser):
    def handle_starttag(self, tag, attrs):
        tags.append(tag)


Tags().feed("<p>text <b>bold</b></p>")
settings = configparser.ConfigParser()
settings.read_string("[s]\nk = 7")
print(
    next(csv.reader(['1,"b,c"'])), json.loads('{"a": [1.5, null]}'),
    tree.fromstring("<a><b>one</b><b>two</b></a>")[1].text, tags, settings["s"]["k"],
    tomllib.loads("[s]\nk = 8")["s"]["k"],
)
