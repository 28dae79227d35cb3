"""Where a recovered cloud lies in the world: which way is down, the floor, and how many metres.

Here: gravity from planes and lines, the height of the floor, scale from one known length, and the
pose that follows.  On the host, of one map at a time, from recovered depth.  Not here: focal length
and shift, which are known by then up to their intervals.
"""
