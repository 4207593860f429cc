"""Writes the sessions of every venue as CSV files into the folder that is given.

The packages and their versions are those of `PACKAGES` in mod.rs. Columns: date, open, close,
break_start, break_end, pre, post; times are UTC, empty where the source gives none.
"""
import sys
from pathlib import Path

import exchange_calendars
import pandas_market_calendars

FIRST = "2015-01-01"
EXCHANGE_CALENDARS = [  # MIC, last day of the holidays that are recorded
    ("BVMF", "2027-12-31"), ("XAMS", "2027-12-31"), ("XASX", "2027-12-31"), ("XBOM", "2026-12-31"),
    ("XETR", "2027-12-31"), ("XFRA", "2027-12-31"), ("XHKG", "2027-12-31"), ("XKRX", "2027-12-31"),
    ("XLON", "2027-12-31"), ("XNYS", "2027-12-31"), ("XPAR", "2027-12-31"), ("XSES", "2026-12-31"),
    ("XSWX", "2027-12-31"), ("XTKS", "2027-12-31"), ("XTSE", "2027-12-31"),
]


def cell(value):
    return "" if value is None or value != value else value.tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%SZ")


def write(folder, mic, rows):
    lines = ["date,open,close,break_start,break_end,pre,post"]
    for date, *times in rows:
        lines.append(",".join([date.strftime("%Y-%m-%d"), *map(cell, times)]))
    (folder / f"{mic}.csv").write_text("\n".join(lines) + "\n")


def main():
    folder = Path(sys.argv[1])
    # The extended hours of New York, which exchange_calendars does not know.
    nyse = pandas_market_calendars.get_calendar("NYSE").schedule(FIRST, "2027-12-31", market_times="all")
    extended = {day.date(): (row["pre"], row["post"]) for day, row in nyse.iterrows()}
    for mic, last in EXCHANGE_CALENDARS:
        schedule = exchange_calendars.get_calendar(mic, start=FIRST, end=last).schedule
        rows = []
        for day, row in schedule.iterrows():
            outer = extended[day.date()] if mic == "XNYS" else (None, None)
            rows.append((day, row["open"], row["close"], row["break_start"], row["break_end"], *outer))
        write(folder, mic, rows)
    # The maintenance hour of CME's equity futures is in this source only.
    cme = pandas_market_calendars.get_calendar("CME_Equity").schedule(FIRST, "2027-12-31", market_times="all")
    write(folder, "CMES", [
        (day, row["market_open"], row["market_close"], row["break_start"], row["break_end"], None, None)
        for day, row in cme.iterrows()
    ])


main()
