"""Which view a radiograph shows, and whether it is a negative or lies on its side: a small packaged classifier."""
