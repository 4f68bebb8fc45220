"""The data card of a clip store: what it holds, what is wrong with it, and what its clips look like.

Data flows one way: `statistics` (coordinates to columns), `measure` (the same for a whole store, on Ray), `findings`
(columns to clips that somebody should look at), `contents` (everything that the card says), then `figures`, `animation`
and `html` (how it looks), and `stage`.
"""
