"""The data card of a clip store: its contents, its flaws, and pictures of its clips.

    clips of the store
      |  measure        on Ray, a block at a time
      |  statistics     coordinates -> columns, a row a clip
      v
    columns ------------------------------------------+
      |  findings       rules: which clips to look at  |
      |  bones          what is usual for each bone    |
      v                                                v
    Inspection (inspection.py) ----------------> clips.csv (table)
      |  contents       everything the card says, as values
      |  store_warnings what is wrong with the store as a whole
      v
    card.json --> figures, body_figures     charts
      |           samples, animation        clips that move
      v
    card.html (page)

`stage` runs all of this in order. Only `measure` needs Ray, and only `stage` writes files.
"""
