"""Reports as HTML and JSON, statistics with intervals, labelled pictures."""
