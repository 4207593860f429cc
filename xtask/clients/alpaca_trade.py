"""Trades against the paper broker with the broker's own Python client, over REST and both streams.

Usage: alpaca_trade.py BROKER_URL FEED_URL     (http://127.0.0.1:8011 http://127.0.0.1:8010)
Exits non-zero on the first answer that the client cannot read or that is not what was asked for.
"""

import asyncio
import sys
import threading
import time

from alpaca.data.live import CryptoDataStream, StockDataStream
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, OrderStatus, TimeInForce
from alpaca.trading.requests import GetCalendarRequest, LimitOrderRequest, MarketOrderRequest
from alpaca.trading.stream import TradingStream

DEADLINE_SECONDS = 30
KEY, SECRET = "PAPER-KEY", "paper-secret"


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


def submit(client, request):
    """Submits, and again where the broker's seeded refusals hit: about 3 % of orders are refused."""
    for _ in range(5):
        order = client.submit_order(request())
        settled = wait_for("an accepted order", lambda: client.get_order_by_id(order.id))
        if settled.status != OrderStatus.REJECTED:
            return settled
    sys.exit("five orders in a row were refused")


def main(broker, feed):
    updates, quotes, stock_quotes = [], [], []

    async def on_update(update):
        updates.append(update)

    async def on_quote(quote):
        quotes.append(quote)

    async def on_stock_quote(quote):
        stock_quotes.append(quote)

    trading_stream = TradingStream(KEY, SECRET, paper=True, url_override=broker.replace("http", "ws") + "/stream")
    trading_stream.subscribe_trade_updates(on_update)
    in_background(trading_stream)

    crypto = CryptoDataStream(KEY, SECRET, url_override=feed.replace("http", "ws") + "/v1beta3/crypto/us")
    crypto.subscribe_quotes(on_quote, "BTC/USD", "ETH/USD")
    in_background(crypto)

    stocks = StockDataStream(KEY, SECRET, url_override=feed.replace("http", "ws") + "/v2/iex")
    stocks.subscribe_quotes(on_stock_quote, "AAPL")
    in_background(stocks)

    client = TradingClient(KEY, SECRET, paper=True, url_override=broker)
    account = client.get_account()
    print("account", account.account_number, "cash", account.cash, "buying power", account.buying_power)
    print("clock", client.get_clock().is_open, "calendar days", len(client.get_calendar(GetCalendarRequest())))

    wait_for("a crypto quote", lambda: quotes)
    print("first quote", quotes[0].symbol, quotes[0].bid_price, quotes[0].ask_price)
    wait_for("a stock quote", lambda: stock_quotes)
    print("first stock quote", stock_quotes[0].symbol, stock_quotes[0].bid_price, stock_quotes[0].ask_price)

    bought = submit(
        client,
        lambda: MarketOrderRequest(symbol="BTC/USD", qty=0.01, side=OrderSide.BUY, time_in_force=TimeInForce.GTC),
    )
    filled = wait_for(
        "the market order to fill",
        lambda: next((o for o in [client.get_order_by_id(bought.id)] if o.status == OrderStatus.FILLED), None),
    )
    print("filled", filled.symbol, filled.filled_qty, "at", filled.filled_avg_price)
    assert float(filled.filled_qty) == 0.01, filled

    again = client.get_order_by_client_id(filled.client_order_id)
    assert again.id == filled.id, again
    positions = {position.symbol: position for position in client.get_all_positions()}
    print("positions", {symbol: position.qty for symbol, position in positions.items()})
    assert any(symbol.replace("/", "") == "BTCUSD" for symbol in positions), positions

    resting = submit(
        client,
        lambda: LimitOrderRequest(
            symbol="BTC/USD", qty=0.01, side=OrderSide.BUY, time_in_force=TimeInForce.GTC, limit_price=1000.0
        ),
    )
    client.cancel_order_by_id(resting.id)
    canceled = wait_for(
        "the limit order to be cancelled",
        lambda: next((o for o in [client.get_order_by_id(resting.id)] if o.status == OrderStatus.CANCELED), None),
    )
    print("cancelled", canceled.id)

    wait_for("the fill on the stream", lambda: [u for u in updates if u.order.id == bought.id and u.event == "fill"])
    wait_for("the cancel on the stream", lambda: [u for u in updates if u.order.id == resting.id and u.event == "canceled"])
    print("trade updates", len(updates), "crypto quotes", len(quotes), "stock quotes", len(stock_quotes))

    try:
        client.submit_order(
            MarketOrderRequest(symbol="NOSUCH", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
        )
        sys.exit("an order for an unknown symbol was accepted")
    except Exception as error:  # the client's own APIError, whose import path moves between versions
        print("unknown symbol refused:", str(error)[:100])
    print("alpaca-py: all passed")


if __name__ == "__main__":
    asyncio.set_event_loop(asyncio.new_event_loop())
    main(*sys.argv[1:3])
