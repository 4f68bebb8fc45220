"""What a worker takes its batches from, one cache a file behind the interface of `clip_stream`."""
