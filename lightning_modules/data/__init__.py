"""Data modules, and the data sets behind them."""
