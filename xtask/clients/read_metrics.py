"""Reads each URL with the reference parsers of prometheus_client: text 0.0.4 and OpenMetrics 1.0.

Usage: read_metrics.py URL...
"""

import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

FORMATS = [
    ("text/plain; version=0.0.4", read_text),
    ("application/openmetrics-text; version=1.0.0", read_openmetrics),
]

for url in sys.argv[1:]:
    for accept, read in FORMATS:
        request = urllib.request.Request(url, headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=5) as answer:
            kind, body = answer.headers["Content-Type"], answer.read().decode()
        if accept.split(";")[0] not in kind:
            sys.exit(f"{url}: asked for {accept}, got {kind}")
        families = list(read(body))
        samples = sum(len(family.samples) for family in families)
        if samples == 0:
            sys.exit(f"{url}: no samples in {accept}")
        print(f"{url} {accept.split(';')[0]}: {len(families)} families, {samples} samples")
