"""Makes ray-traced photographs through a lens and their disparity, for `bench_ground_truth`.

Needs Mitsuba 3 (extra `truth`). `shapes` are grids of points, `textures` the pictures on them,
`scenes` six compositions of both, `tracer` what Mitsuba does with them, `__main__` the command.

Positions are `(x, y, z)`: x to the right, y up, z the depth along the optical axis; the lens is at
the origin.
"""
