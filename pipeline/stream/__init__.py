"""From a clip store to the batches of a training worker.

The files, from arithmetic to Ray:

- `randomness`: random numbers that depend on nothing but a key
- `epochs`: how an epoch is cut into batches, and in which order clips come
- `pairs`: which clips show one performance from two cameras
- `reading_list`: what a rank reads, when clips come from the files
- `selection`: the clips of one or several stores that a stream serves
- `instructions`: what a reading task is told, and how it reads
- `running_dataset`, `reader`: reading ahead while a rank trains
- `caches/`: what a worker takes its batches from, one cache a file
- `cache_choice`: which cache, by the room there is
- `plan`: the driver's part, which workers open their share of
"""
