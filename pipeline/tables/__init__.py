"""Tables of many runs, side by side: their rows over seeds, as text, as a plot and as a page."""
