"""Trades against the paper broker with the broker's own Python client, over REST and both streams.

Usage: alpaca_trade.py BROKER_URL FEED_URL     (http://127.0.0.1:8011 http://127.0.0.1:8010)
Exits non-zero on the first answer that the client cannot read or that is not what was asked for.
"""

import asyncio
import sys
import threading
import time

from alpaca.common.exceptions import APIError
from alpaca.data.live import CryptoDataStream, StockDataStream
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, OrderStatus, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import GetCalendarRequest, GetOrdersRequest, LimitOrderRequest, MarketOrderRequest
from alpaca.trading.stream import TradingStream

DEADLINE_SECONDS = 30
# The recording is replayed as if it were made now; a trade of a quiet symbol may be a while ago.
AGE_SECONDS_MAX = 30
KEY, SECRET = "PAPER-KEY", "paper-secret"
CRYPTO, STOCKS = ("BTC/USD", "ETH/USD"), ("AAPL", "TSLA")


def wait_for(what, condition):
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    sys.exit(f"waited {DEADLINE_SECONDS} s in vain for {what}")


def in_background(stream):
    thread = threading.Thread(target=stream.run, daemon=True)
    thread.start()
    return thread


def place(client, request, wanted):
    """Submits until an order has a `wanted` status.

    The broker refuses about 3 % of orders, most of them at once and some only later, on its stream.
    """
    settled = (OrderStatus.REJECTED, *wanted)
    for _ in range(5):
        order_id = client.submit_order(request()).id
        order = wait_for(
            f"an order to be {' or '.join(wanted)}",
            lambda: next((o for o in [client.get_order_by_id(order_id)] if o.status in settled), None),
        )
        if order.status != OrderStatus.REJECTED:
            return order
        print("refused, once more:", order.symbol)
    sys.exit("five orders in a row were refused")


def refused(client, request, status, code):
    """Submits what the broker must refuse with this status and code."""
    try:
        client.submit_order(request)
    except APIError as error:
        assert (error.status_code, error.code) == (status, code), error
        return
    sys.exit(f"accepted, and should have been refused with {code}: {request}")


def listen(broker, feed, updates, data):
    """Opens the broker's stream and both of the feed's; each message is kept by its kind and symbol."""

    async def on_update(update):
        updates.append(update)

    async def on_data(message):
        data.setdefault((type(message).__name__, message.symbol), []).append(message)

    trading = TradingStream(KEY, SECRET, paper=True, url_override=broker.replace("http", "ws") + "/stream")
    trading.subscribe_trade_updates(on_update)
    in_background(trading)
    for kind, path, symbols in (
        (CryptoDataStream, "/v1beta3/crypto/us", CRYPTO),
        (StockDataStream, "/v2/iex", STOCKS),
    ):
        stream = kind(KEY, SECRET, url_override=feed.replace("http", "ws") + path)
        stream.subscribe_quotes(on_data, *symbols)
        stream.subscribe_trades(on_data, *symbols)
        in_background(stream)


def trade(client, updates):
    def told(order, event):
        wait_for(f"{event} on the stream", lambda: [u for u in updates if u.order.id == order.id and u.event == event])

    btc = {"symbol": "BTC/USD", "qty": 0.01, "side": OrderSide.BUY, "time_in_force": TimeInForce.GTC}
    filled = place(client, lambda: MarketOrderRequest(**btc), [OrderStatus.FILLED])
    print("filled", filled.symbol, filled.filled_qty, "at", filled.filled_avg_price)
    assert float(filled.filled_qty) == 0.01 and float(filled.filled_avg_price) > 0, filled
    told(filled, "fill")
    again = client.get_order_by_client_id(filled.client_order_id)
    assert again.id == filled.id, again
    refused(client, MarketOrderRequest(**btc, client_order_id=filled.client_order_id), 422, 40010001)
    refused(client, MarketOrderRequest(**{**btc, "qty": 1_000_000}), 403, 40310000)
    try:
        client.submit_order(MarketOrderRequest(**{**btc, "symbol": "NOSUCH"}))
        sys.exit("an order for an unknown symbol was accepted")
    except APIError as error:
        print("unknown symbol refused:", str(error)[:100])
    positions = {position.symbol.replace("/", ""): position.qty for position in client.get_all_positions()}
    print("positions", positions)
    assert "BTCUSD" in positions, positions

    resting = place(client, lambda: LimitOrderRequest(**btc, limit_price=1000.0), [OrderStatus.NEW, OrderStatus.ACCEPTED])
    still_open = client.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN, symbols=["BTC/USD"]))
    assert resting.id in [order.id for order in still_open], still_open
    client.cancel_order_by_id(resting.id)
    wait_for("the cancel", lambda: client.get_order_by_id(resting.id).status == OrderStatus.CANCELED)
    told(resting, "canceled")


def read(data):
    wanted = {(kind, symbol) for kind in ("Quote", "Trade") for symbol in (*CRYPTO, *STOCKS)}
    wait_for("quotes and trades of every symbol", lambda: wanted <= set(data))
    now = time.time()
    for (kind, symbol), messages in sorted(data.items()):
        age = now - messages[-1].timestamp.timestamp()
        assert abs(age) < AGE_SECONDS_MAX, f"{kind} {symbol} is {age} s old"
    print("market data", {f"{kind} {symbol}": len(messages) for (kind, symbol), messages in sorted(data.items())})


def main(broker, feed):
    updates, data = [], {}
    listen(broker, feed, updates, data)
    client = TradingClient(KEY, SECRET, paper=True, url_override=broker)
    account = client.get_account()
    assert float(account.cash) > 0, account
    print("account", account.account_number, "cash", account.cash, "buying power", account.buying_power)
    print("clock", client.get_clock().is_open, "calendar days", len(client.get_calendar(GetCalendarRequest())))
    assert {asset.symbol for asset in client.get_all_assets()} >= {"AAPL", "BTC/USD"}
    read(data)
    trade(client, updates)
    print("trade updates", len(updates))
    print("alpaca-py: all passed")


if __name__ == "__main__":
    asyncio.set_event_loop(asyncio.new_event_loop())
    main(*sys.argv[1:3])
