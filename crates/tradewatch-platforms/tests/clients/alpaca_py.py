"""alpaca-py (0.44, Apache-2.0) trades against the paper broker and reads the feed.

Usage: alpaca_py.py BROKER FEED, for example http://127.0.0.1:8011 ws://127.0.0.1:8010, where feed and broker
run, say by `cargo run -p tradewatch-platforms --example world -- --calm` (a broker that rejects nothing by
chance). Exits 0 if everything was as expected, else with a traceback.
"""

import os
import sys
import threading
import time

from alpaca.common.exceptions import APIError
from alpaca.data.live import CryptoDataStream, StockDataStream
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, OrderStatus, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import GetCalendarRequest, GetOrdersRequest, LimitOrderRequest, MarketOrderRequest
from alpaca.trading.stream import TradingStream

BROKER, FEED = sys.argv[1:3]
KEYS = ("PAPER-KEY", "paper-secret")


def until(what, done, seconds=20):
    """Waits until `done` answers something true, and returns it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = done()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds} s")


def background(stream):
    threading.Thread(target=stream.run, daemon=True).start()


def trade():
    client = TradingClient(*KEYS, url_override=BROKER)
    assert float(client.get_account().cash) > 0
    assert client.get_clock().is_open, "the session is the virtual one, which is open"
    assert client.get_calendar(GetCalendarRequest())
    assert {asset.symbol for asset in client.get_all_assets()} >= {"AAPL", "BTC/USD"}

    updates = []

    async def note(update):
        updates.append(update)

    stream = TradingStream(*KEYS, url_override=BROKER.replace("http", "ws", 1) + "/stream")
    stream.subscribe_trade_updates(note)
    background(stream)
    market = dict(symbol="AAPL", qty=2, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
    until("the stream listens and tells a fill", lambda: (
        client.submit_order(MarketOrderRequest(**market)), time.sleep(1),
        any(update.event == "fill" for update in updates))[-1])

    order = client.submit_order(MarketOrderRequest(**market, client_order_id="alpaca-py-1"))
    filled = until("the order is filled", lambda: (
        (found := client.get_order_by_id(order.id)).status == OrderStatus.FILLED and found))
    assert float(filled.filled_qty) == 2 and float(filled.filled_avg_price) > 0
    until("its fill is told", lambda: [u for u in updates if u.event == "fill" and u.order.id == order.id])
    try:
        client.submit_order(MarketOrderRequest(**market, client_order_id="alpaca-py-1"))
        raise AssertionError("the same client_order_id twice")
    except APIError as error:
        assert (error.status_code, error.code) == (422, 40010001), error
    try:
        client.submit_order(MarketOrderRequest(**{**market, "qty": 1_000_000}))
        raise AssertionError("more than the account carries")
    except APIError as error:
        assert (error.status_code, error.code) == (403, 40310000), error

    resting = client.submit_order(LimitOrderRequest(
        symbol="BTC/USD", qty=0.001, side=OrderSide.BUY, time_in_force=TimeInForce.GTC, limit_price=100.5))
    still_open = client.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN, symbols=["BTC/USD"]))
    assert [found.id for found in still_open] == [resting.id]
    client.cancel_order_by_id(resting.id)
    assert client.get_order_by_id(resting.id).status == OrderStatus.CANCELED

    assert float(client.get_open_position("AAPL").qty) >= 4
    assert [answer.status for answer in client.close_all_positions(cancel_orders=True)] == [200]
    until("everything is sold", lambda: client.get_all_positions() == [])


def read():
    seen = {}

    async def note(message):
        age = time.time() - message.timestamp.timestamp()
        seen.setdefault((type(message).__name__, message.symbol), []).append(age)

    for kind, path, symbols in (
        (StockDataStream, "/v2/iex", ["AAPL", "TSLA"]),
        (CryptoDataStream, "/v1beta3/crypto/us", ["BTC/USD", "ETH/USD"]),
    ):
        stream = kind(*KEYS, url_override=FEED + path)
        stream.subscribe_quotes(note, *symbols)
        stream.subscribe_trades(note, *symbols)
        background(stream)
    wanted = {(kind, symbol) for kind in ("Quote", "Trade") for symbol in ("AAPL", "TSLA", "BTC/USD", "ETH/USD")}
    until("quotes and trades of all four symbols", lambda: wanted <= set(seen), 60)
    for (kind, symbol), ages in seen.items():
        # The recorder's clock was 1.27 s behind: its events come from the future, those of the model do not.
        ages.sort()
        median = ages[len(ages) // 2]
        assert (-1.3 < median < 0) if symbol.endswith("/USD") else (0 <= median < 1), f"{kind} {symbol}: {median} s old"


trade()
read()
print("alpaca-py trades and reads")
sys.stdout.flush()
os._exit(0)  # The streams' threads have no end of their own.
