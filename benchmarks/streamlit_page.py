"""The rival of the page's chart: what people write with streamlit and plotly, as `streamlit run streamlit_page.py`."""

import sys

import duckdb
import plotly.graph_objects as go
import streamlit as st
from plotly.subplots import make_subplots

with duckdb.connect(sys.argv[1], read_only=True) as store:
    bars = store.execute("SELECT * FROM ohlcv_btcusdt_1h ORDER BY timestamp").df()
figure = make_subplots(rows=2, shared_xaxes=True, row_heights=[0.8, 0.2])
candles = go.Candlestick(x=bars.timestamp, open=bars.open, high=bars.high, low=bars.low, close=bars.close)
figure.add_trace(candles, row=1, col=1)
figure.add_trace(go.Bar(x=bars.timestamp, y=bars.volume), row=2, col=1)
figure.update_layout(xaxis_rangeslider_visible=False, height=700)
st.plotly_chart(figure)
