"""Reads N.prom and N.om of a folder with the reference parsers of prometheus_client, and compares what they found
with N.sum: value, name, then labels, separated by tabs.

Usage: read_files.py FOLDER
"""

import math
import pathlib
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text


def unescape(text):
    out, escaped = [], False
    for letter in text:
        if escaped:
            out.append({"n": "\n", "t": "\t"}.get(letter, letter))
        elif letter == "\\":
            escaped = True
            continue
        else:
            out.append(letter)
        escaped = False
    return "".join(out)


def same(a, b):
    return a == b or (math.isnan(a) and math.isnan(b))


folder = pathlib.Path(sys.argv[1])
files = samples = compared = 0
for sums in sorted(folder.glob("*.sum")):
    expected = {}
    for line in sums.read_text().split("\n"):
        if line:
            value, name, *labels = line.split("\t")
            pairs = zip(labels[::2], map(unescape, labels[1::2]))
            expected[name, frozenset(pairs)] = float(value)
    for suffix, read in ((".prom", read_text), (".om", read_openmetrics)):
        path = sums.with_suffix(suffix)
        found = {}
        try:
            for family in read(path.read_text()):
                for sample in family.samples:
                    found[sample.name, frozenset(sample.labels.items())] = sample.value
        except Exception as error:
            sys.exit(f"{path}: {error!r}")
        for series, value in expected.items():
            if series not in found:
                sys.exit(f"{path}: {series} is missing")
            if not same(found[series], value):
                sys.exit(f"{path}: {series} is {found[series]}, {value} was counted")
        files, samples, compared = files + 1, samples + len(found), compared + len(expected)
if not compared:
    sys.exit(f"{folder}: nothing to compare")
print(f"{files} files, {samples} samples read, {compared} compared")
